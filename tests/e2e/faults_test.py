"""Answers over an upstream that breaks in every way that tests/support/script.h knows, before and after its first token.
Every stream must end as it should, and its bytes must be exactly what was written: nothing lost, nothing twice.

The scripted upstream's answer to a prompt is known in advance, so the part of each stream that it wrote is compared byte
for byte with what it sent until it broke; what it was asked to continue is compared with what the client had seen.

HEDGE_E2E_STREAMS sets the number of streams (200; 1000 for the full check).
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import Server
from wire import Client

STREAMS = harness.count_from_environment("HEDGE_E2E_STREAMS", 200)
AT_ONCE = 16

MODES = ["continue", "echo", "spread", "spaced", "overlap"]
# Fault, and after how many pieces (-1: before the head of the response).
FAULTS = [
    ("none", 0), ("stall", -1), ("stall", 0), ("stall", 3), ("reset", -1), ("reset", 0), ("reset", 5), ("cut", -1),
    ("cut", 0), ("cut", 4), ("cut_word", 0), ("cut_word", 6), ("cut_utf8", 0), ("cut_utf8", 5), ("cut_json", 0),
    ("cut_json", 4), ("bad_json", 0), ("bad_json", 5), ("not_object", 3), ("bad_chunk", 0), ("bad_chunk", 6),
    ("huge_line", 4), ("error", 0), ("error", 5), ("response_error", 4), ("end", 0), ("end", 5), ("no_finish", 0),
    ("no_done", 0), ("empty", 0), ("html", 0), ("status&status=500", 0), ("status&status=503", 0),
    ("status&status=429", 0), ("status&status=400", 0), ("status&status=401", 0), ("status&status=404", 0),
]
ESCALATIONS = [0, 3, 6]  # local tokens before the switch; 0 is before the first token

CONFIG = """
[upstream]
name = "scripted"
base_url = "{url}"
model = "scripted"
first_token_timeout_ms = 700
gap_timeout_ms = 700
continuation = "prefix"
breaker_failures = 1000
[policy.confidence]
enabled = false
[server]
requests_max = 64
"""


def pieces_of(text):
    """Words with the white space before them (scripted_pieces() of tests/support/script.cc)."""
    return re.findall(r"[ \t\r\n]*[^ \t\r\n]+|[ \t\r\n]+$", text)


class Case:
    """One stream: what is asked, and what follows from it."""

    def __init__(self, number, fault, after, mode, escalate_after):
        self.number = number
        self.fault = fault.split("&")[0]
        self.after = after
        self.mode = mode
        self.escalate_after = escalate_after
        script = f"mode={mode}&fault={fault}&after={after}" + ("&per_byte=1" if number % 7 == 0 else "")
        # No local model ends its own text like this by chance, so that nothing overlaps that should not.
        self.answer = f"\u27e6{number}\u27e7 grüße aus the north: seven \U0001f41f swim, naïve and quiet, past stone {number}."
        self.prompt = f"script: {script}; say: {self.answer}"
        self.name = f"stream {number}: {script}, after {escalate_after} tokens"

    def body(self):
        return {"messages": [{"role": "user", "content": self.prompt}], "max_tokens": 32, "temperature": 0,
                "ignore_eos": True, "stream": True,
                "hedge": {"escalate_after": self.escalate_after, "session": f"faults-{self.number}"}}

    def continuation(self, start):
        """What the upstream means to add to `start`."""
        if start and self.answer.startswith(start):
            return self.answer[len(start):]
        return self.answer if not start or start[-1] in " \t\r\n" else " " + self.answer

    def repeated(self, start):
        """What it sends of `start` again, by its mode (scripted_reply() of tests/support/script.cc)."""
        if not start or self.mode == "continue":
            return ""
        if self.mode == "overlap":
            return "".join(pieces_of(start)[-3:]).lstrip(" \t\r\n")
        return (" " if self.mode == "spaced" else "") + start

    def written(self, start):
        """The texts that may stand in the stream as the upstream's, given what it was asked to continue."""
        whole = self.continuation(start)
        repeated = self.repeated(start)
        if self.fault in ("none", "no_finish", "no_done"):
            return [whole]
        if self.fault in ("empty", "html", "status") or self.after <= 0 and self.fault != "cut_word":
            return [""]
        if self.mode == "echo" and start:
            pieces = pieces_of(whole)
            pieces[0] = start + pieces[0]
        else:
            pieces = pieces_of(repeated + whole)

        def new(count, extra=""):
            return ("".join(pieces[:count]) + extra)[len(repeated):]

        if self.fault == "reset":  # The kernel may drop what had arrived and was not read yet.
            return [new(count) for count in range(self.after + 1)]
        if self.fault == "cut_word" and self.after < len(pieces):
            half = pieces[self.after].encode()
            half = half[: (len(half) + 1) // 2].decode(errors="ignore")
            return [new(self.after), new(self.after, half)]
        return [new(self.after)]


class Upstream:
    """The program scripted_upstream."""

    def __init__(self):
        path = os.environ.get("HEDGE_SCRIPTED_UPSTREAM",
                              os.path.join(os.path.dirname(harness.binary()), "scripted_upstream"))
        if not os.access(path, os.X_OK):
            raise unittest.SkipTest(f"no program at {path}; build it or set HEDGE_SCRIPTED_UPSTREAM")
        self.process = subprocess.Popen([path], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        line = self.process.stdout.readline().decode()
        self.port = int(re.search(r"http://[^:]+:(\d+)", line).group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def seen(self):
        """{prompt: [start of the assistant's turn, ...]} of the requests for answers, in order."""
        with contextlib.closing(Client(self.port)) as client:
            requests = client.request("GET", "/scripted/seen").json["requests"]
        starts = {}
        for request in requests:
            if request["path"] != "/v1/chat/completions":
                continue
            messages = json.loads(request["body"])["messages"]
            start = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
            prompt = [m["content"] for m in messages if m["role"] == "user"][-1]
            starts.setdefault(prompt, []).append(start)
        return starts

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        model = harness.model(harness.SMOLLM2)
        cls.upstream = Upstream()
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(url=cls.upstream.url))
            config.flush()
            cls.device = Server(model, "-c", "512", "--slots", str(AT_ONCE), "--config", config.name)

    @classmethod
    def tearDownClass(cls):
        with cls.device:
            pass
        cls.upstream.stop()

    def test_every_stream_ends_and_no_byte_is_lost_or_doubled(self):
        # Coprime steps: every fault meets every mode and every place before any meeting comes twice.
        cases = [Case(i, *FAULTS[i % len(FAULTS)], MODES[i // len(FAULTS) % len(MODES)], ESCALATIONS[i % len(ESCALATIONS)])
                 for i in range(STREAMS)]
        waiting = LockedIterator(iter(cases))
        answers = {}

        def work(_):
            with contextlib.closing(self.device.client()) as client:
                for case in iter(lambda: next(waiting, None), None):
                    answers[case.number] = client.stream("/v1/chat/completions", case.body()).read_all()

        harness.in_parallel(AT_ONCE, work)
        seen = self.upstream.seen()
        failures = []
        for case in cases:
            try:
                self.check(case, answers[case.number], seen.get(case.prompt, []))
            except AssertionError as error:
                failures.append(f"{case.name}: {error}")
        self.assertFalse(failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures[:20]))
        self.assertTrue(self.device.running())

    def check(self, case, answer, starts):
        answer.check_whole()
        self.assertTrue(starts, "the upstream was never asked")
        if case.fault == "none":
            self.assertEqual(answer.backends()[-1], "scripted")
        position = 0
        said = {}  # by the upstream, by what stood before
        for backend, text in answer.parts():
            if backend == "scripted":
                said[answer.content.encode()[:position].decode()] = text
            position += len(text.encode())
        for start in said:
            self.assertIn(start, starts, "written without having been asked for")
        for start in starts:
            self.assertTrue(answer.content.startswith(start), f"asked to continue {start!r}, sent was {answer.content!r}")
            if start and case.escalate_after:
                after = answer.content[len(start):len(start) + 1]
                self.assertFalse(start[-1].isalnum() and after.isalnum(), f"switched inside a word: {start[-20:]!r}")
        # An upstream that is asked again begins where it was asked to.
        written = [(start, said.get(start, "")) for start in dict.fromkeys(starts)]
        for start, text in written:
            self.assertIn(text, case.written(start), f"after {start!r}")
        kept = self.device.session(f"faults-{case.number}")
        self.assertEqual([t["content"] for t in kept], [case.prompt, answer.content])
        self.assertEqual(kept[1]["segments"], answer.hedge["segments"])


class Ledger(unittest.TestCase):
    def test_what_a_client_that_went_away_has_cost_is_known_after_a_restart(self):
        model = harness.model(harness.SMOLLM2)
        upstream = Upstream()
        self.addCleanup(upstream.stop)
        words = " ".join(f"word{i}" for i in range(60))
        with tempfile.TemporaryDirectory() as folder:
            config = os.path.join(folder, "hedge.toml")
            with open(config, "w", encoding="utf-8") as file:
                file.write(CONFIG.format(url=upstream.url) + "[policy]\nupstream_tokens_per_day = 100000\n")

            def start():
                return Server(model, "-c", "512", "--config", config, data_dir=folder)

            def spent(device):
                return device.get("/v1/hedge/status").json["budgets"][0]["tokens"]

            with start() as device:
                client = device.client()
                stream = client.stream("/v1/chat/completions", {
                    "messages": [{"role": "user", "content": f"script: delay_ms=100; say: {words}"}], "stream": True,
                    "hedge": {"route": "upstream"}})
                stream.read_pieces(3)
                client.close()
                paid = harness.wait_until(lambda: spent(device), what="the charge of the answer")
            with start() as device:
                self.assertEqual(spent(device), paid)


class LockedIterator:
    """An iterator for several threads."""

    def __init__(self, inner):
        self._inner = inner
        self._lock = threading.Lock()

    def __next__(self):
        with self._lock:
            return next(self._inner)

    def __iter__(self):
        return self


if __name__ == "__main__":
    harness.main()
