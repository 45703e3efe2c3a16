"""Three real `hedge serve` processes in a chain, device, fog and cloud: each decides anew, a circle and a long way end, the
trace shows the whole way; and one device with two upstreams in its file."""

import contextlib
import socket
import tempfile
import unittest

import harness
from harness import Server
from relay import RecordingProxy

UNSURE = "true\nprobe = \"off\"\nfirst_margin_min = 1.0\nfirst_margin_quantile = 0.0"  # no first token is sure enough

CONFIG = """
[server]
node = "{node}"
hops_max = {hops}
{upstreams}
[policy.confidence]
enabled = {confidence}
"""
UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "{url}"
model = "default"
"""


def node(name, upstreams=(), confidence="false", hops=4, model=harness.SMOLLM2):
    """A server; `upstreams` are pairs of name and URL."""
    text = CONFIG.format(node=name, hops=hops, confidence=confidence,
                         upstreams="".join(UPSTREAM.format(name=n, url=u) for n, u in upstreams))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(text)
        config.flush()
        return Server(harness.model(model), "-c", "512", "--slots", "2", "--alias", name, "--config", config.name, threads=1)


class Chain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as undo:
            cls.cloud = node("cloud", model=harness.GEMMA)
            undo.callback(cls.cloud.kill)
            cls.fog = node("fog", [("cloud", cls.cloud.url)], confidence=UNSURE)
            undo.callback(cls.fog.kill)
            cls.relay = RecordingProxy(cls.fog.port)
            undo.callback(cls.relay.close)
            cls.device = node("device", [("fog", cls.relay.url)])
            undo.pop_all()

    @classmethod
    def tearDownClass(cls):
        with cls.cloud, cls.fog, cls.device:
            pass
        cls.relay.close()

    def test_each_node_decides_and_the_trace_shows_the_whole_way(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                answer = self.device.chat("What is the capital of Italy?", max_tokens=8, stream=stream,
                                          hedge={"route": "upstream"}).check_whole()
                hedge = answer.hedge
                self.assertEqual(hedge["path"], "device")
                self.assertEqual(hedge["reasons"], ["gate.request_upstream"])
                self.assertEqual(hedge["segments"], [{"backend": "fog", "bytes": len(answer.content.encode())}])
                fog = hedge["upstream"]
                self.assertEqual(fog["path"], "device,fog")
                self.assertEqual(fog["reasons"], ["confidence.first"])
                self.assertEqual([s["backend"] for s in fog["segments"]], ["cloud"])
                cloud = fog["upstream"]
                self.assertEqual(cloud["path"], "device,fog,cloud")
                self.assertEqual(cloud["route"], "local")
                self.assertNotIn("upstream", cloud)
                # Each node keeps its own decision under the id that the trace names; the device keeps all of it.
                for server, trace in ((self.fog, fog), (self.cloud, cloud)):
                    kept = server.get("/v1/hedge/decisions/" + trace["id"]).json
                    self.assertEqual(kept["path"], trace["path"])
                kept = self.device.get("/v1/hedge/decisions/" + hedge["id"]).json
                self.assertEqual(kept["upstream"], fog)

    def test_hops_that_are_used_up_end_the_way(self):
        for hops, path in ((0, ["device"]), (1, ["device", "fog"]), (2, ["device", "fog", "cloud"]), (9, ["device", "fog", "cloud"])):
            with self.subTest(hops=hops), contextlib.closing(self.device.client()) as client:
                body = {"messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 6, "temperature": 0,
                        "hedge": {"route": "upstream"}}
                response = client.request("POST", "/v1/chat/completions", body, {"x-hedge-hops": str(hops)})
                self.assertEqual(response.status, 200, response.text)
                trace, last = response.json["hedge"], None
                while trace:
                    trace, last = trace.get("upstream"), trace
                self.assertEqual(last["path"].split(","), path)
                self.assertEqual(last["route"], "local")
                if hops < 2:
                    self.assertEqual(last["reasons"], ["gate.hops_used"])

    def test_the_headers_are_sent_and_wrong_ones_are_refused(self):
        before = len(self.relay.sent())
        self.device.chat("Name a lake.", max_tokens=4, hedge={"route": "upstream"})
        sent = self.relay.sent()[before:]
        self.assertIn(b"x-hedge-path: device\r\n", sent)
        self.assertIn(b"x-hedge-hops: 3\r\n", sent)
        body = {"messages": [{"role": "user", "content": "Hi."}], "max_tokens": 2}
        for headers, status, param in (({"x-hedge-path": "a,,b"}, 400, "x-hedge-path"), ({"x-hedge-hops": "-1"}, 400, "x-hedge-hops"),
                                       ({"x-hedge-path": "x,device,y"}, 508, "x-hedge-path")):
            with self.subTest(headers):
                response = self.device.request("POST", "/v1/chat/completions", body, headers)
                self.assertEqual((response.status, response.json["error"]["param"]), (status, param))


class Circle(unittest.TestCase):
    def test_two_nodes_that_are_each_others_upstream(self):
        relay = RecordingProxy(0)
        with contextlib.closing(relay), node("left", [("right", relay.url)], UNSURE) as left, \
                node("right", [("left", left.url)], UNSURE) as right:
            relay.target = right.port
            for _ in range(5):  # more than the breaker would bear, were a circle a fault of the endpoint
                answer = left.chat("Name a mountain.", max_tokens=6, hedge={"route": "upstream"}).check_whole()
                self.assertEqual(answer.backends(), ["right"])
                trace = answer.hedge["upstream"]
                self.assertEqual(trace["path"], "left,right")
                self.assertEqual(trace["route"], "local")
                self.assertIn("upstream.failed", trace["reasons"])
            steps = right.get("/v1/hedge/decisions/" + trace["id"]).json["steps"]
            self.assertIn("loop_detected", str(steps))
            self.assertEqual(right.metrics()["hedge_upstream_breaker_opened_total"], 0)


class TwoTiersInOneFile(unittest.TestCase):
    def test_the_second_answers_where_the_first_does_not(self):
        with node("cloud", model=harness.GEMMA) as cloud:
            closed = socket.socket()  # bound and not listening: whoever comes is refused
            closed.bind(("127.0.0.1", 0))
            fog = f"http://127.0.0.1:{closed.getsockname()[1]}"
            with contextlib.closing(closed), node("device", [("fog", fog), ("cloud", cloud.url)]) as device:
                for _ in range(5):  # the first tier's breaker opens on the way
                    answer = device.chat("Name a sea.", max_tokens=4, stream=True, hedge={"route": "upstream"}).check_whole()
                    self.assertEqual(answer.backends(), ["cloud"])
                self.assertEqual(device.metrics()["hedge_upstream_available"], 1)


if __name__ == "__main__":
    harness.main()
