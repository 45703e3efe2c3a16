"""Answers over links that are slow, thin or lossy, and one that goes silent in mid-answer, emulated in user space (relay.py)
because not every kernel has netem. The scripted upstream's answer is known, so a lost or doubled byte shows."""

import contextlib
import tempfile
import time
import unittest

import faults_test
import harness
from harness import Server
from relay import LinkRelay

# One-way delay and jitter (ms), rate (bytes per second), loss of segments.
LINKS = {
    "lan": dict(delay_ms=0.3, bytes_per_s=125e6),
    "wifi": dict(delay_ms=3, jitter_ms=2, bytes_per_s=12.5e6, loss=0.001),
    "5g": dict(delay_ms=15, jitter_ms=3, bytes_per_s=2.5e6),
    "backhaul": dict(delay_ms=30, bytes_per_s=1.25e6),
    "satellite": dict(delay_ms=300, bytes_per_s=250e3, loss=0.01),
}

CONFIG = """
[upstream]
name = "scripted"
base_url = "{url}"
model = "scripted"
continuation = "prefix"
first_token_timeout_ms = {first_ms}
gap_timeout_ms = {gap_ms}
breaker_failures = 1000
[policy]
race_after_ms = {race_ms}
[policy.confidence]
enabled = false
"""


class Links(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = harness.model(harness.SMOLLM2)
        cls.upstream = faults_test.Upstream()

    @classmethod
    def tearDownClass(cls):
        cls.upstream.stop()

    @contextlib.contextmanager
    def device(self, link, first_ms=10_000, gap_ms=5_000, race_ms=0):
        with contextlib.closing(link), tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(url=link.url, first_ms=first_ms, gap_ms=gap_ms, race_ms=race_ms))
            config.flush()
            with Server(self.model, "-c", "512", "--slots", "4", "--config", config.name, threads=1) as device:
                yield device

    def case(self, number, script="delay_ms=1", **hedge):
        answer = f"\u27e6{number}\u27e7 gr\u00fc\u00dfe over the link: seven \U0001f41f swim past stone {number}."
        body = {"messages": [{"role": "user", "content": f"script: {script}; say: {answer}"}], "max_tokens": 32,
                "ignore_eos": True, "stream": True, "temperature": 0, "hedge": hedge}
        return answer, body

    def ask(self, device, body):
        with contextlib.closing(device.client()) as client:
            return client.stream("/v1/chat/completions", body).read_all().check_whole()

    def test_every_link_carries_every_byte(self):
        for name, link in LINKS.items():
            with self.subTest(name), self.device(LinkRelay(self.upstream.port, **link)) as device:
                for number in range(4):
                    expected, body = self.case(number, route="upstream")
                    answer = self.ask(device, body)
                    self.assertEqual(answer.backends(), ["scripted"])
                    self.assertEqual(answer.content, expected)
                expected, body = self.case(9, escalate_after=4)
                answer = self.ask(device, body)
                self.assertEqual(answer.backends(), ["local", "scripted"])
                (_, local), (_, rest) = answer.parts()
                if expected.startswith(local):  # the local model had begun the very answer
                    expected = expected[len(local):]
                self.assertEqual(rest.strip(), expected.strip())

    def test_a_link_that_goes_silent_in_mid_answer_is_followed_by_the_local_model(self):
        link = LinkRelay(self.upstream.port, delay_ms=3)
        with self.device(link, gap_ms=700) as device:
            expected, body = self.case(1, script="delay_ms=100", route="upstream")
            with contextlib.closing(device.client()) as client:
                stream = client.stream("/v1/chat/completions", body).read_pieces(3)
                link.set_silent(True)
                silent_at = time.monotonic()
                answer = stream.read_all().check_whole()
            self.assertLess(time.monotonic() - silent_at, 10)
            self.assertEqual(answer.backends(), ["scripted", "local"])
            self.assertTrue(expected.startswith(answer.parts()[0][1]))
            link.set_silent(False)
            expected, body = self.case(2, route="upstream")
            self.assertEqual(self.ask(device, body).content, expected)

    def test_the_local_model_races_a_link_that_is_silent_from_the_start(self):
        link = LinkRelay(self.upstream.port)
        with self.device(link, race_ms=100) as device:
            link.set_silent(True)
            _, body = self.case(3, route="upstream")
            begun = time.monotonic()
            answer = self.ask(device, body)
            self.assertLess(time.monotonic() - begun, 8, "it waited for the upstream's own deadline")
            self.assertEqual(answer.backends(), ["local"])
            self.assertIn("upstream.slow", answer.hedge["reasons"])
            self.assertEqual(device.metrics()["hedge_router_races_won_total"], 1)
            link.set_silent(False)


if __name__ == "__main__":
    harness.main()
