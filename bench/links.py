#!/usr/bin/env python3
"""What a Hedge adds between a client and an upstream, on loopback against the scripted upstream, so that every millisecond is
Hedge's own:

  bytes_out   from the client's last byte to the request's first byte at the upstream, on a warm connection
  added_ttft  time to the first text through Hedge, less the time to the first text of the same request sent directly
  resume      from the upstream's last text to the first local one, after the upstream has died in mid-answer
  loser       from the first local text to the end of the upstream's connection, where the local model has won a race

  bench/links.py [--hedge PROGRAM] [--scripted PROGRAM] [--count N] [--json FILE]

Direct and indirect requests alternate, so that both see the same machine. Standard library only; the programs are those of
build/release. Prints median, p99 and largest of each.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

CONFIG = """
[upstream]
name = "scripted"
base_url = "{url}"
model = "scripted"
continuation = "prefix"
breaker_failures = 1000
[policy]
race_after_ms = 0
[[policy.rules]]
when = {{tag = "race"}}
use = "race"
[policy.confidence]
enabled = false
"""


class Tap:
    """A relay that notes when the first byte of each request passes, and when a client closes; one thread per direction and
    connection."""

    def __init__(self, port):
        self.target = port
        self.arrivals = []
        self.ends = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            target = socket.create_connection(("127.0.0.1", self.target))
            for end in (client, target):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(client, target, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(target, client, False), daemon=True).start()

    def _pump(self, source, sink, outward):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if outward and data.startswith(b"POST"):
                    self.arrivals.append(time.perf_counter())
                sink.sendall(data)
        if outward:
            self.ends.append(time.perf_counter())
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()


class Connection:
    """One keep-alive connection that asks for streams and times their text."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, body):
        """(time sent, [(time, bytes)...]) with the bytes as they came, to the end of the chunked body."""
        data = json.dumps(body).encode()
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n").encode()
        self.socket.sendall(head + data)
        sent = time.perf_counter()
        pieces, tail = [], b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            got = self.socket.recv(65536)
            if not got:
                raise SystemExit("the connection was closed in mid-answer")
            pieces.append((time.perf_counter(), got))
            tail = (tail + got)[-64:]
        return sent, pieces

    def close(self):
        self.socket.close()


def first_text(pieces):
    for at, data in pieces:
        if b'"content":"' in data.replace(b'"content":""', b""):
            return at
    raise SystemExit("no text in the answer: " + repr(b"".join(d for _, d in pieces)[:300]))


def body_of(text, **more):
    return {"model": "default", "messages": [{"role": "user", "content": text}], "stream": True, "temperature": 0, **more}


def summary(values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    return {"median_ms": round(1000 * at(0.5), 3), "p99_ms": round(1000 * at(0.99), 3), "max_ms": round(1000 * values[-1], 3),
            "count": len(values)}


def measure_first_text(hedge_port, upstream_port, tap, count):
    direct, through, bytes_out = [], [], []
    with contextlib.closing(Connection(upstream_port)) as one, contextlib.closing(Connection(hedge_port)) as two:
        for i in range(count + 20):
            text = f"say: alpha bravo charlie delta {i}"
            sent, pieces = one.ask(body_of(text, max_tokens=8))
            plain = first_text(pieces) - sent
            if tap:
                tap.arrivals.clear()
            sent, pieces = two.ask(body_of(text, max_tokens=8, hedge={"route": "upstream"}))
            if i < 20:  # connections, caches, the database's first pages
                continue
            direct.append(plain)
            through.append(first_text(pieces) - sent)
            if tap:
                bytes_out.append(tap.arrivals[0] - sent)
    added = [a - b for a, b in zip(through, direct)]
    out = {"direct_ttft": summary(direct), "hedge_ttft": summary(through), "added_ttft": summary(added)}
    return {**out, "bytes_out": summary(bytes_out)} if tap else out


def measure_resume(hedge_port, count):
    """The upstream closes after five words; its last piece and the first local one are told apart by the comments in the
    stream. The local model has seen nothing of the conversation before: its prefill is part of the time."""
    gaps = []
    with contextlib.closing(Connection(hedge_port)) as connection:
        for i in range(count):
            text = f"script: fault=cut&after=5; say: alpha bravo charlie delta echo foxtrot {i}"
            _, pieces = connection.ask(body_of(text, max_tokens=16, ignore_eos=True, hedge={"route": "upstream"}))
            last = switched = None
            for at, data in pieces:
                if b'"from":"scripted"' in data:
                    switched = at
                    break
                if b'"content":"' in data.replace(b'"content":""', b""):
                    last = at
            if last is None or switched is None:
                raise SystemExit("the answer was not resumed locally: " + repr(b"".join(d for _, d in pieces)[:600]))
            gaps.append(switched - last)
    return {"resume": summary(gaps)}


def measure_losers(hedge_port, tap, count):
    """The upstream keeps silent for longer than the local model takes; closing its connection is what cancels it."""
    late = []
    with contextlib.closing(Connection(hedge_port)) as connection:
        for i in range(count):
            ended = len(tap.ends)
            text = f"script: first_delay_ms=5000; say: alpha bravo charlie delta {i}"
            _, pieces = connection.ask(body_of(text, max_tokens=8, hedge={"tags": ["race"]}))
            limit = time.perf_counter() + 5
            while len(tap.ends) == ended and time.perf_counter() < limit:
                time.sleep(0.001)
            if len(tap.ends) == ended:
                raise SystemExit("the upstream that lost a race kept its connection for 5 s")
            late.append(max(tap.ends[ended] - first_text(pieces), 0))
    return {"loser": summary(late)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hedge", help="the program (default build/release/hedge)")
    parser.add_argument("--scripted", help="the scripted upstream (default: beside it)")
    parser.add_argument("--count", type=int, default=1000, help="requests of each kind (%(default)s); resumes are a fifth, races a tenth")
    parser.add_argument("--json", help="write the figures there as well")
    arguments = parser.parse_args()
    if arguments.count < 10:
        parser.error("--count: expected 10 or more")
    if arguments.hedge:
        os.environ["HEDGE_BIN"] = arguments.hedge
    if arguments.scripted:
        os.environ["HEDGE_SCRIPTED_UPSTREAM"] = arguments.scripted
    import faults_test
    import harness
    import unittest
    try:
        model = harness.model(harness.SMOLLM2)
        upstream = faults_test.Upstream()
    except unittest.SkipTest as missing:
        raise SystemExit(str(missing)) from None
    figures = {}
    # Once without the relay that notes arrivals, whose own threads would count as Hedge's time, and once with it.
    for tapped in (False, True):
        tap = Tap(upstream.port)
        with contextlib.closing(tap), tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(url=f"http://127.0.0.1:{tap.port if tapped else upstream.port}"))
            config.flush()
            with harness.Server(model, "-c", "512", "--slots", "2", "--config", config.name) as device:
                what = "to the upstream" if tapped else "direct and through Hedge in turns"
                print(f"{arguments.count} requests, {what} ...", file=sys.stderr)
                times = measure_first_text(device.port, upstream.port, tap if tapped else None, arguments.count)
                if tapped:
                    figures["bytes_out"] = times["bytes_out"]
                    print(f"{arguments.count // 10} races that the upstream loses ...", file=sys.stderr)
                    figures.update(measure_losers(device.port, tap, arguments.count // 10))
                    continue
                figures.update(times)
                print(f"{arguments.count // 5} upstreams that die ...", file=sys.stderr)
                figures.update(measure_resume(device.port, arguments.count // 5))
    upstream.stop()
    for name, row in figures.items():
        print(f"{name:12} median {row['median_ms']:8.3f} ms   p99 {row['p99_ms']:8.3f} ms   max {row['max_ms']:8.3f} ms"
              f"   n = {row['count']}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
