#!/usr/bin/env python3
"""Compares `hedge serve` and llama.cpp's llama-server under several clients, on the same file and threads.

    clients   --clients C clients at once, each one prompt of --prompt tokens and an answer of --generate: tokens per second
              of all answers together
    prefix    --prefix-clients clients at once whose prompts share their first --prefix tokens: time until all have answered
    gaps      one client's answer while another sends a prompt of --long tokens: 99th and 50th percentile of the time
              between two of its tokens while that prompt is read; without speculation, whose tokens come several at once
    idle      wake-ups per second of all threads of the server with nothing to do
    restart   one client's prompt of --restart tokens: time to the first token when it is computed, when it is in memory,
              and when the server has been restarted since (Hedge: from disk)

The servers run in turn, round by round; each scene starts a fresh server, so that nothing is cached but what the scene
itself repeats. Prompts are random token ids, the same for both servers.

    bench/serving.py -m model.gguf -t 2 -r 3
"""
import argparse
import http.client
import json
import pathlib
import random
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import common

START_S = 120
ANSWER_S = 600


class Server:
    """A server of one of the two programs, on a port of its own."""

    def __init__(self, arguments, name, model, slots, context, flags=(), data_dir=None):
        """flags: for hedge alone."""
        self.name = name
        self.folder = tempfile.TemporaryDirectory()
        port = 0
        if name == "hedge":
            command = [arguments.hedge, "serve", "-m", model, "-t", str(arguments.threads), "-c", str(context), "--slots",
                       str(slots), "--port", "0", "--data-dir", data_dir or self.folder.name, *flags]
        else:
            port = free_port()
            command = [common.llama_program(arguments.llama_dir, "llama-server"), "-m", model, "-t",
                       str(arguments.threads), "-c", str(context * slots), "-np", str(slots), "--port", str(port),
                       "--host", "127.0.0.1", "--no-webui"]
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.port = port or self._printed_port()
        self._wait()

    def _printed_port(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", pathlib.Path(self.log.name).read_bytes())
            if found:
                return int(found.group(1))
            time.sleep(0.05)
        self._fail()

    def _wait(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self._fail()

    def _fail(self):
        tail = pathlib.Path(self.log.name).read_text(errors="replace").splitlines()[-5:]
        self.stop()
        common.fail(f"{self.name} did not start:\n" + "\n".join(tail))

    def complete(self, tokens, generate):
        """Times of the answer's pieces, since the request."""
        body = {"prompt": tokens, "max_tokens": generate, "temperature": 0, "ignore_eos": True, "stream": True,
                "model": "any"}
        if self.name == "hedge":
            body["hedge"] = {"route": "local"}
            del body["model"]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        start = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            common.fail(f"{self.name}: {response.status} {response.read()[:300]!r}")
        times = []
        for line in response:
            if line.startswith(b"data: {") and b'"text"' in line:
                times.append(time.monotonic() - start)
        connection.close()
        return start, times

    def wake_ups(self):
        total = 0
        for status in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status.read_text()))
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def at_once(functions):
    results = [None] * len(functions)
    failures = []

    def run(index):
        try:
            results[index] = functions[index]()
        except BaseException as error:  # shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def prompt(seed, length, vocabulary):
    numbers = random.Random(seed)
    return [numbers.randrange(300, vocabulary - 300) for _ in range(length)]


def scene_clients(arguments, name, model, vocabulary):
    """Tokens per second."""
    context = arguments.prompt + arguments.generate + 64
    with Server(arguments, name, model, arguments.clients, context) as server:
        server.complete(prompt(999, 8, vocabulary), 4)
        begin = time.monotonic()
        answers = at_once([lambda i=i: server.complete(prompt(i, arguments.prompt, vocabulary), arguments.generate)
                           for i in range(arguments.clients)])
        return (sum(len(times) for _, times in answers) / (time.monotonic() - begin),)


def scene_prefix(arguments, name, model, vocabulary):
    """Seconds."""
    shared = prompt(77, arguments.prefix, vocabulary)
    context = arguments.prefix + 128
    with Server(arguments, name, model, arguments.prefix_clients, context) as server:
        server.complete(prompt(999, 8, vocabulary), 4)
        begin = time.monotonic()
        at_once([lambda i=i: server.complete(shared + prompt(i, 16, vocabulary), 16)
                 for i in range(arguments.prefix_clients)])
        return (time.monotonic() - begin,)


def scene_gaps(arguments, name, model, vocabulary):
    """99th over 50th percentile, and both in ms, of the gaps while the long prompt is read."""
    context = arguments.long + 640
    with Server(arguments, name, model, 2, context, ("--speculation", "off")) as server:
        server.complete(prompt(999, 8, vocabulary), 4)

        def long_prompt():
            time.sleep(0.5)
            start, times = server.complete(prompt(5, arguments.long, vocabulary), 1)
            return start, start + times[0]

        (start, times), (begin, end) = at_once(
            [lambda: server.complete(prompt(6, 32, vocabulary), 600), long_prompt])
        gaps = [(b - a) * 1000 for a, b in zip(times, times[1:]) if begin <= start + a and start + b <= end]
        if len(gaps) < 10:
            common.note(f"{name}: only {len(gaps)} tokens beside the long prompt; longest gap "
                        f"{max(b - a for a, b in zip(times, times[1:])) * 1000:.0f} ms")
            gaps = gaps or [(b - a) * 1000 for a, b in zip(times, times[1:])]
        gaps.sort()
        p50, p99 = statistics.median(gaps), gaps[min(len(gaps) - 1, int(len(gaps) * 0.99))]
        return p99 / p50, p99, p50


def scene_idle(arguments, name, model, vocabulary):
    """Wake-ups per second."""
    with Server(arguments, name, model, 2, 512) as server:
        server.complete(prompt(999, 8, vocabulary), 4)
        time.sleep(3)
        before = server.wake_ups()
        time.sleep(10)
        return ((server.wake_ups() - before) / 10,)


def scene_restart(arguments, name, model, vocabulary):
    """Milliseconds to the first token: computed, from memory, after a restart."""
    tokens = prompt(8, arguments.restart, vocabulary)
    first_token = lambda server: server.complete(tokens, 1)[1][0] * 1000
    with tempfile.TemporaryDirectory() as folder:
        with Server(arguments, name, model, 1, arguments.restart + 64, data_dir=folder) as server:
            server.complete(prompt(999, 8, vocabulary), 4)
            computed = first_token(server)
            memory = min(first_token(server) for _ in range(3))
        with Server(arguments, name, model, 1, arguments.restart + 64, data_dir=folder) as server:
            server.complete(prompt(999, 8, vocabulary), 4)
            return computed, memory, first_token(server)


# What a scene gives, for people.
UNITS = {"restart": "{:.0f} ms, memory {:.1f} ms, restarted {:.1f} ms", "clients": "{:.0f} t/s", "prefix": "{:.2f} s", "gaps": "p99/p50 {0:.2f}, p50 {2:.0f} ms", "idle": "{:.1f} /s"}
SCENES = {"clients": scene_clients, "prefix": scene_prefix, "gaps": scene_gaps, "idle": scene_idle,
          "restart": scene_restart}


def median_of(runs):
    """The median of each figure of a scene's runs."""
    return [statistics.median(figures) for figures in zip(*runs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_common(parser)
    parser.add_argument("-r", "--rounds", type=int, default=3, help="how often each server plays each scene (default %(default)s)")
    parser.add_argument("--scenes", default=",".join(SCENES), help="comma-separated, of " + ", ".join(SCENES))
    parser.add_argument("--clients", type=int, default=8, help='clients of the scene "clients" (default %(default)s)')
    parser.add_argument("--prompt", type=int, default=256, help="tokens of their prompts (default %(default)s)")
    parser.add_argument("--generate", type=int, default=128, help="tokens of their answers (default %(default)s)")
    parser.add_argument("--prefix-clients", type=int, default=16, help='clients of the scene "prefix" (default %(default)s)')
    parser.add_argument("--prefix", type=int, default=2048, help="tokens that their prompts share (default %(default)s)")
    parser.add_argument("--long", type=int, default=4096, help='tokens of the prompt in the scene "gaps" (default %(default)s)')
    parser.add_argument("--restart", type=int, default=4000, help='tokens of the prompt in the scene "restart" (default %(default)s)')
    arguments = parser.parse_args()
    common.check_common(arguments)
    wanted = arguments.scenes.split(",")
    for scene in wanted:
        if scene not in SCENES:
            common.fail(f"--scenes: expected some of {', '.join(SCENES)}, got {scene}")
    rows, results = [], []
    for model in arguments.model:
        vocabulary = common.command_json([arguments.hedge, "show", model, "--json"])["vocabulary"]
        for scene in wanted:
            values = {"hedge": [], "llama.cpp": []}
            for i in range(arguments.rounds):
                for name, runs in values.items():
                    runs.append(SCENES[scene](arguments, name, model, vocabulary))
                common.note(f"{common.model_name(model)} {scene} round {i + 1}/{arguments.rounds}: {values}")
            results.append({"model": common.model_name(model), "scene": scene, **values})
            ours, theirs = (median_of(values[name]) for name in values)
            ratio = ours[0] / theirs[0] if scene == "clients" else theirs[0] / ours[0] if scene == "prefix" else None
            rows.append([common.model_name(model), scene, UNITS[scene].format(*ours), UNITS[scene].format(*theirs),
                         f"{ratio:.2f}" if ratio else "-"])
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "rounds": arguments.rounds, "results": results}, indent=2))
        return
    common.show_table(["model", "scene", "hedge", "llama.cpp", "times better"], rows, arguments.markdown)


if __name__ == "__main__":
    main()
