"""Counts the packets that leave a device, in a network namespace whose only way out is a TUN device that this test reads: none
at start-up, none offline, none for requests that stay; and a network that goes away is noticed at once.

Needs `unshare -rn`, `ip` and /dev/net/tun; skipped where one is missing or not permitted.
"""

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import harness
from harness import Server

INSIDE = "--inside-namespace"
AWAY = "10.99.0.2"  # a host beyond the TUN device; nobody answers there

CONFIG = """
[upstream]
name = "away"
base_url = "http://{host}:9"
model = "default"
connect_timeout_ms = {connect_ms}
breaker_failures = 1000
[policy]
offline = {offline}
race_after_ms = 0
[policy.confidence]
enabled = true
probe = "off"
first_margin_min = 1.0
first_margin_quantile = 0.0
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Tun:
    """A device whose packets end here, each one kept."""

    def __init__(self):
        self._file = os.open("/dev/net/tun", os.O_RDWR)
        iff_tun_no_pi, tunsetiff = 0x1001, 0x400454CA
        fcntl.ioctl(self._file, tunsetiff, struct.pack("16sH", b"away0", iff_tun_no_pi))
        for setting in ("all", "default", "away0"):
            with open(f"/proc/sys/net/ipv6/conf/{setting}/disable_ipv6", "w") as file:
                file.write("1")  # the kernel's own router solicitations are nobody's requests
        self.packets = []
        self.up()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            self.packets.append(os.read(self._file, 65536))

    def up(self):
        ip("address", "replace", "10.99.0.1/24", "dev", "away0")
        ip("link", "set", "away0", "up")
        ip("route", "replace", "default", "dev", "away0")

    def down(self):
        ip("link", "set", "away0", "down")


def start(offline, connect_ms=300):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(host=AWAY, offline=str(offline).lower(), connect_ms=connect_ms))
        config.flush()
        return Server(harness.model(harness.SMOLLM2), "-c", "512", "--slots", "2", "--config", config.name, threads=1)


WAYS = ({}, {"route": "upstream"}, {"route": "local"}, {"escalate_after": 0}, {"escalate_after": 3}, {"private": True})


class Offline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ip("link", "set", "lo", "up")
        cls.tun = Tun()

    def ask(self, device, hedge, **more):
        return device.chat("Name a river.", max_tokens=6, hedge=hedge, **more).check_whole()

    def test_offline_nothing_goes_out_and_everything_is_answered(self):
        before = len(self.tun.packets)
        with start(offline=True) as device:
            for i in range(30):
                answer = self.ask(device, WAYS[i % len(WAYS)], stream=i % 2 == 0)
                self.assertEqual(answer.backends(), ["local"])
            device.metrics()
        self.assertEqual(self.tun.packets[before:], [])

    def test_packets_go_out_only_for_what_may_go(self):
        before = len(self.tun.packets)
        with start(offline=False) as device:
            time.sleep(0.5)  # what a start-up might send, it would have sent
            self.ask(device, {"route": "local"})
            self.ask(device, {"private": True, "route": "upstream"})
            self.assertEqual(self.tun.packets[before:], [])
            answer = self.ask(device, {"route": "upstream"})
            self.assertEqual(answer.backends(), ["local"])
        self.assertTrue(self.tun.packets[before:], "the counter would have seen a packet")

    def test_a_network_that_goes_is_noticed_at_once(self):
        with start(offline=False, connect_ms=20_000) as device:
            self.tun.down()
            try:
                before = len(self.tun.packets)
                begun = time.monotonic()
                answer = self.ask(device, {"route": "upstream"})
                self.assertLess(time.monotonic() - begun, 10, "it waited for a connection")
                self.assertEqual(answer.backends(), ["local"])
                self.assertEqual(answer.hedge["reasons"], ["gate.upstream_unavailable"])
                step = device.get("/v1/hedge/decisions/" + answer.hedge["id"]).json["steps"][0]
                self.assertEqual(step["detail"], "no_network")
                self.assertEqual(self.tun.packets[before:], [])
            finally:
                self.tun.up()

    def test_a_network_that_goes_during_a_connection_attempt(self):
        with start(offline=False, connect_ms=20_000) as device:
            gone_at = []

            def cut():
                time.sleep(0.5)
                self.tun.down()
                gone_at.append(time.monotonic())

            thread = threading.Thread(target=cut)
            thread.start()
            try:
                answer = self.ask(device, {"route": "upstream"})
                late = time.monotonic() - gone_at[0]
            finally:
                thread.join()
                self.tun.up()
            self.assertEqual(answer.backends(), ["local"])
            self.assertIn("upstream.failed", answer.hedge["reasons"])
            step = device.get("/v1/hedge/decisions/" + answer.hedge["id"]).json["steps"][-1]
            self.assertLess(late, 5, f"noticed late: {step}")


class InANamespace(unittest.TestCase):
    def test_packets(self):
        harness.binary(), harness.model(harness.SMOLLM2)  # or skipped
        try:
            tried = subprocess.run(["unshare", "-rn", "sh", "-c", "command -v ip && test -w /dev/net/tun"], capture_output=True)
        except FileNotFoundError:
            raise unittest.SkipTest("no program unshare") from None
        if tried.returncode != 0:
            raise unittest.SkipTest("a network namespace with `ip` and /dev/net/tun is not to be had here")
        done = subprocess.run(["unshare", "-rn", sys.executable, "-B", __file__, INSIDE], capture_output=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout.decode() + done.stderr.decode())


if __name__ == "__main__":
    if INSIDE in sys.argv:
        sys.argv.remove(INSIDE)
        unittest.main(defaultTest="Offline", verbosity=2)
    else:
        del Offline
        harness.main()
