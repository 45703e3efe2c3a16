"""`hedge route report` over the decisions of a real server: its page and charts are well-formed and complete, its figures add up,
and no word of a prompt or answer is in them."""

import json
import os
import tempfile
import unittest
import xml.etree.ElementTree

import harness
from harness import SMOLLM2, Server

PROMPTS = ["What is the capital of France?", "Name a zebra-striped animal.", "Write to jane.roe@example.org.", "Count to three."]
SVG = "{http://www.w3.org/2000/svg}"


def text_of(element):
    return " ".join(element.itertext())


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="hedge-report-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.answers = []
        with Server(harness.model(SMOLLM2), data_dir=cls.folder.name) as server:
            for i, prompt in enumerate(PROMPTS):
                answer = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}],
                                                              "max_tokens": 8, "temperature": 0}).json
                cls.answers.append(answer)
                said = {"signal": "thumbs_up" if i % 2 == 0 else "thumbs_down"}
                assert server.post(f"/v1/hedge/decisions/{answer['hedge']['id']}/feedback", said).status == 200

    def report(self, *arguments, status=0):
        got, out, err, _ = harness.run("route", "report", "--data-dir", self.folder.name, *arguments)
        self.assertEqual(got, status, err)
        return out if status == 0 else err

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def test_the_page_is_well_formed_and_needs_nothing_else(self):
        out = self.report("--out", self.path("page.html"))
        self.assertIn("4 answers: 4 here", out)
        with open(self.path("page.html"), encoding="utf-8") as file:
            page = file.read()
        root = xml.etree.ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
        charts = list(root.iter(SVG + "svg"))
        self.assertGreaterEqual(len(charts), 4)
        for chart in charts:
            self.assertEqual(chart.get("role"), "img")
            title, description = chart.find(SVG + "title"), chart.find(SVG + "desc")
            self.assertEqual(chart.get("aria-labelledby"), f"{title.get('id')} {description.get('id')}")
            self.assertTrue(title.text and description.text)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        self.assertEqual(len(ids), len(set(ids)))
        for outside in ("src=", "href=", "url(", "<script", "@import"):
            self.assertNotIn(outside, page)
        text = text_of(root)
        self.assertIn("gate.personal_data", text)
        self.assertIn("50 %", text)  # two of four answers were liked
        for prompt, answer in zip(PROMPTS, self.answers):
            self.assertNotIn(prompt, page)
            self.assertNotIn(answer["choices"][0]["message"]["content"], page)

    def test_charts_are_files_of_their_own(self):
        self.report("--svg", self.path("charts"))
        names = sorted(os.listdir(self.path("charts")))
        self.assertIn("routes.svg", names)
        self.assertIn("latency.svg", names)
        for name in names:
            root = xml.etree.ElementTree.parse(self.path(os.path.join("charts", name))).getroot()
            self.assertEqual(root.tag, SVG + "svg")
            width, height = (float(v) for v in root.get("viewBox").split()[2:])
            for element in root.iter():
                for attribute, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                    if element.get(attribute):
                        self.assertLessEqual(0, float(element.get(attribute)), f"{name}: {element.attrib}")
                        self.assertLessEqual(float(element.get(attribute)), most, f"{name}: {element.attrib}")

    def test_figures_add_up(self):
        figures = json.loads(self.report("--json"))
        self.assertEqual(figures["answers"], 4)
        self.assertEqual(figures["routes"]["local"]["right"]["count"], 4)
        self.assertEqual(figures["routes"]["local"]["right"]["share"], 0.5)
        self.assertEqual(sum(span["local"] for span in figures["over_time"]["spans"]), 4)
        self.assertEqual(figures["reasons"]["gate.personal_data"], 1)
        self.assertEqual(figures["routes"]["local"]["first_text"]["count"], 4)
        self.assertLessEqual(figures["routes"]["local"]["first_text"]["p50_ms"], figures["routes"]["local"]["total"]["p50_ms"] * 1.02)
        self.assertEqual(figures["policies"][0]["answers"], 4)

    def test_labels_outvote_users(self):
        with open(self.path("labels.jsonl"), "w", encoding="utf-8") as file:
            for answer in self.answers:
                file.write(json.dumps({"id": answer["hedge"]["id"], "correct": True}) + "\n")
        figures = json.loads(self.report("--json", "--labels", self.path("labels.jsonl")))
        self.assertEqual(figures["routes"]["local"]["right"]["share"], 1)
        with open(self.path("broken.jsonl"), "w", encoding="utf-8") as file:
            file.write('{"id": "hd-1"}\n')
        self.assertIn("broken.jsonl:1:", self.report("--labels", self.path("broken.jsonl"), status=1))

    def test_a_folder_without_a_database_is_an_error(self):
        with tempfile.TemporaryDirectory() as empty:
            for folder in (empty, os.path.join(empty, "missing")):
                for command in (("report", "--out", os.path.join(empty, "page.html")), ("learned", "show"),
                                ("learned", "wipe"), ("explain", "Hi")):
                    status, out, err, _ = harness.run("route", *command, "--data-dir", folder)
                    self.assertEqual((status, out), (1, ""), command)
                    self.assertIn("expected a data folder with a session database", err)
                    self.assertIn(folder, err)
            self.assertEqual(os.listdir(empty), [])  # nothing was made

    def test_wrong_options_are_usage_errors(self):
        self.assertIn("7d", self.report("--since", "soon", status=2))
        self.assertIn("/no/such", self.report("--out", "/no/such/page.html", status=1))


if __name__ == "__main__":
    harness.main()
