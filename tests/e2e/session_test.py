"""Sessions that move: by a capsule from one `hedge serve` to another, over a database that two share, by the command line."""

import contextlib
import json
import os
import tempfile
import unittest

import harness
from harness import Server
from postgres import Postgres


def start(store="", data_dir=None, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f'[session]\nstore = "{store}"\n')
        config.flush()
        return Server(harness.model(harness.SMOLLM2), "-c", "512", "--slots", "2", "--config", config.name, threads=1,
                      data_dir=data_dir, **options)


class Sessions(unittest.TestCase):
    def talk(self, server, session, messages, question, **hedge):
        messages.append({"role": "user", "content": question})
        answer = server.chat(messages, max_tokens=10, hedge={"session": session, **hedge}).check_whole()
        messages.append({"role": "assistant", "content": answer.content})
        return answer

    def test_another_hedge_goes_on_from_a_capsule(self):
        messages = []
        with start() as one, start() as other:
            self.talk(one, "move", messages, "Name a river.", private=True)
            self.talk(one, "move", messages, "And another.")
            capsule = one.get("/v1/hedge/sessions/move/capsule")
            self.assertEqual(capsule.status, 200)
            self.assertTrue(capsule.json["private"])
            put = other.request("PUT", "/v1/hedge/sessions/move/capsule", capsule.json)
            self.assertEqual(put.status, 200, put.text)
            self.assertEqual(other.session("move"), one.session("move"))
            answer = self.talk(other, "move", messages, "And a third.", route="upstream")
            self.assertIn("gate.private_session", answer.hedge["reasons"])  # the mark holds there
            # And home again.
            home = one.request("PUT", "/v1/hedge/sessions/move/capsule",
                               other.get("/v1/hedge/sessions/move/capsule").json)
            self.assertEqual((home.status, home.json["new"]), (200, True), home.text)
            self.assertEqual([t["content"] for t in one.session("move")], [m["content"] for m in messages])
            self.assertEqual(one.request("DELETE", "/v1/hedge/sessions/move").status, 200)
            self.assertEqual(one.get("/v1/hedge/sessions/move").status, 404)

    def test_the_command_line_beside_a_running_server(self):
        messages = []
        with tempfile.TemporaryDirectory(prefix="hedge-sessions-") as folder, start() as server:
            self.talk(server, "chat", messages, "Name a colour.")
            data = ("--data-dir", server.data_dir)
            self.assertIn("chat", harness.run("session", "list", *data)[1])
            self.assertIn("Name a colour.", harness.run("session", "show", "chat", *data)[1])
            path = os.path.join(folder, "chat.json")
            self.assertEqual(harness.run("session", "export", "chat", "--out", path, *data)[0], 0)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            there = ("--data-dir", os.path.join(folder, "there"))
            for said in ("2 turns\n", "all of them here already"):
                status, out, err, _ = harness.run("session", "import", path, *there)
                self.assertEqual(status, 0, err)
                self.assertIn(said, out)
            with open(path) as file:
                capsule = json.load(file)
            capsule["private"] = True
            with open(path, "w") as file:
                json.dump(capsule, file)
            status, _, err, _ = harness.run("session", "import", path, *there)
            self.assertEqual(status, 1)
            self.assertIn("sha256", err)
            self.assertEqual(harness.run("session", "delete", "chat", *there)[0], 0)
            status, _, err, _ = harness.run("session", "show", "chat", *there)
            self.assertEqual(status, 1)
            self.assertIn("hedge session list", err)

    def test_two_hedges_share_a_postgresql(self):
        with contextlib.closing(Postgres()) as postgres:
            messages = []
            one = start(postgres.url)
            with start(postgres.url) as other:
                self.talk(one, "shared", messages, "Name a tree.")
                self.talk(other, "shared", messages, "And another.")
                one.kill()
                answer = self.talk(other, "shared", messages, "And a third.")
                self.assertEqual(answer.hedge["session"], "shared")
                self.assertEqual([t["content"] for t in other.session("shared")], [m["content"] for m in messages])


if __name__ == "__main__":
    harness.main()
