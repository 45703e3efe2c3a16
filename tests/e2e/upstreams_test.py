"""A device in front of real upstreams: llama-server, vLLM, LiteRT-LM and another Hedge. Whatever each of them does on the
wire, answers end as they should, a begun answer is continued without a word doubled, a cancelled one is let go of, and
what the upstream refuses or drops is answered by the local model.

Those that are not installed are skipped (peers.py); scripts/nightly installs all of them. What was found out about each
is printed at its end.
"""

import contextlib
import json
import sys
import tempfile
import time
import unittest

import harness
from harness import Server
from peers import HedgePeer, LiteRt, LlamaServer, Vllm
from relay import RecordingProxy, posts

CONFIG = """
[upstream]
name = "peer"
base_url = "{url}"
model = "{model}"
breaker_failures = 100
[policy]
race_after_ms = 0
[policy.confidence]
enabled = false
"""
CANCEL_LIMIT_S = 1.0  # of a busy machine; what it took is printed
LONG = "Tell me a long story about a ship, a storm and an island."


def manner_of(path, body):
    """How a begun answer was asked for (docs/routing.md)."""
    if path == "/v1/completions":
        return "tokens" if isinstance(body["prompt"], list) else "raw"
    if body["messages"][-1]["role"] == "assistant":
        return "prefix with flags" if body.get("continue_final_message") else "prefix"
    return "instruct"


class RealUpstream:
    """The tests of one upstream; the classes below say which."""

    MANNER = ""

    @classmethod
    def setUpClass(cls):
        model = harness.model(harness.SMOLLM2)
        cls.found = {}
        cls.peer = cls.make_peer(model)
        cls.addClassCleanup(cls.peer.stop)
        cls.relay = RecordingProxy(cls.peer.port)
        cls.addClassCleanup(cls.relay.close)
        cls.device = cls.make_device(model, cls.peer.MODEL)
        cls.addClassCleanup(lambda: cls.device.stop())

    @classmethod
    def make_device(cls, model, upstream_model):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(url=cls.relay.url, model=upstream_model))
            config.flush()
            return Server(model, "-c", "4096", "--slots", "2", "--config", config.name, threads=1)

    @classmethod
    def tearDownClass(cls):
        print(f"\n{cls.peer.NAME}: " + "; ".join(f"{k}: {v}" for k, v in sorted(cls.found.items())), file=sys.stderr)

    def last_post(self):
        return posts(self.relay.sent())[-1]

    def how(self, answer, device=None):
        """By whom it was answered, and what the upstream said if it was not by it."""
        trace = (device or self.device).get("/v1/hedge/decisions/" + answer.hedge["id"]).json
        why = [step["detail"] for step in trace["steps"] if step["what"] == "upstream.failed"]
        return "answered by " + ", ".join(answer.backends()) + (f" ({why[0][:160]})" if why else "")

    def test_answers(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                more = {"stream_options": {"include_usage": True}} if stream else {}
                answer = self.device.chat("What is the capital of France?", max_tokens=24, stream=stream, temperature=0,
                                          hedge={"route": "upstream"}, **more).check_whole()
                self.assertEqual(answer.backends(), ["peer"])
                self.assertTrue(answer.content)
                self.assertGreater(answer.usage["completion_tokens"], 0)
                self.assertGreater(answer.usage["prompt_tokens"], 0)
        trace = self.device.get("/v1/hedge/decisions/" + answer.hedge["id"]).json
        self.found["charged tokens"] = trace["upstream_tokens"]
        self.assertGreater(trace["upstream_tokens"], 0)

    def test_the_limit_on_tokens_holds(self):
        answer = self.device.chat(LONG, max_tokens=6, temperature=0, hedge={"route": "upstream"}).check_whole()
        self.assertEqual(answer.backends(), ["peer"])
        self.found["at 6 tokens"] = f"{answer.usage['completion_tokens']}, {answer.finish_reason}"
        self.assertLessEqual(answer.usage["completion_tokens"], 7)

    def test_a_begun_answer_is_continued(self):
        joined = {}
        for after in (1, 5, 9, 14):
            with self.subTest(after=after):
                answer = self.device.chat("Why is the sky blue?", max_tokens=48, temperature=0, stream=True,
                                          hedge={"escalate_after": after}).check_whole()
                parts = answer.parts()
                self.assertEqual(parts[0][0], "local")
                self.found["manner"] = manner_of(*self.last_post())
                self.assertEqual(self.found["manner"], self.MANNER)
                local, rest = parts[0][1], answer.content[len(parts[0][1].encode()):]
                joined[after] = [backend for backend, _ in parts]
                self.assertFalse(rest.lstrip().startswith(local.strip()), f"doubled: {local!r} | {rest!r}")
                self.assertFalse(local[-1].isalnum() and rest[:1].isalnum(), f"inside a word: {local!r} | {rest!r}")
        self.found["continued"] = f"{sum('peer' in who for who in joined.values())} of {len(joined)}"
        # Who begins every answer anew is found out, too: the local model goes on then.
        if self.MANNER != "instruct":
            self.assertTrue(all(who == ["local", "peer"] for who in joined.values()), joined)

    def test_a_cancelled_answer_is_let_go(self):
        with contextlib.closing(self.device.client()) as client:
            stream = client.stream("/v1/chat/completions", {
                "messages": [{"role": "user", "content": LONG}], "max_tokens": 400, "temperature": 0,
                "hedge": {"route": "upstream"}})
            stream.read_pieces(2)
            begun = time.perf_counter()
            client.abort()
        harness.wait_until(lambda: any(at >= begun for at in self.relay.closed_at), 10, "the connection's end")
        took = min(at for at in self.relay.closed_at if at >= begun) - begun
        self.found["cancelled after"] = f"{1000 * took:.0f} ms"
        self.assertLess(took, CANCEL_LIMIT_S)
        if self.peer.busy() is not None:
            harness.wait_until(lambda: not self.peer.busy(), 10, f"{self.peer.NAME} to stop working")
            self.found["idle after"] = f"{1000 * (time.perf_counter() - begun):.0f} ms"

    def test_one_that_drops_the_connection_is_followed_by_the_local_model(self):
        self.relay.hold_after(3)
        with contextlib.closing(self.device.client()) as client:
            stream = client.stream("/v1/chat/completions", {
                "messages": [{"role": "user", "content": LONG}], "max_tokens": 40, "temperature": 0,
                "hedge": {"route": "upstream"}})
            stream.read_pieces(1)
            self.relay.cut()
            answer = stream.read_all()
        self.relay.let_go()
        answer.check_whole()
        self.assertEqual(answer.backends(), ["peer", "local"])

    def test_a_prompt_that_is_too_long_for_it(self):
        # What its context does not hold is refused before any text, in whichever words; 2100 words are.
        answer = self.device.chat("word " * 2100, max_tokens=4, temperature=0, hedge={"route": "upstream"}).check_whole()
        self.found["too long a prompt"] = self.how(answer)

    def test_a_model_that_it_does_not_have(self):
        with self.make_device(harness.model(harness.SMOLLM2), "nobody") as device:
            answer = device.chat("Say hello.", max_tokens=8, hedge={"route": "upstream"}).check_whole()
            self.found["unknown model"] = self.how(answer, device)

    def test_a_tools_result_in_the_history(self):
        messages = [{"role": "user", "content": "How warm is it in Rome?"},
                    {"role": "assistant", "content": "I shall look it up."},
                    {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"celsius": 21})},
                    {"role": "user", "content": "So, how warm is it?"}]
        answer = self.device.chat(messages, max_tokens=8, hedge={"route": "upstream"}).check_whole()
        self.found["a tool's result"] = self.how(answer)


class OnLlamaServer(RealUpstream, unittest.TestCase):
    MANNER = "tokens"

    @staticmethod
    def make_peer(model):
        return LlamaServer(model)


class OnVllm(RealUpstream, unittest.TestCase):
    MANNER = "tokens"

    @staticmethod
    def make_peer(model):
        return Vllm()


class OnLiteRt(RealUpstream, unittest.TestCase):
    MANNER = "instruct"

    @staticmethod
    def make_peer(model):
        return LiteRt()


class OnHedge(RealUpstream, unittest.TestCase):
    MANNER = "prefix with flags"

    @staticmethod
    def make_peer(model):
        return HedgePeer(model)


if __name__ == "__main__":
    harness.main()
