"""What the end-to-end tests share: the real binary as a process, and the model files. wire.py has the HTTP client.

Standard library only. Nothing here sleeps to wait for something: it reads until what it waits for has come, and every wait
has a limit.

Environment:
  HEDGE_BIN      the binary (default: build/release/hedge of this tree)
  HEDGE_MODELS   folder with the two default models; where it is not set, $HEDGE_HOME/models and
                 ~/.local/share/hedge/models are tried. Without the models the tests that need them are skipped.
"""

import contextlib
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from wire import Answer, Client, messages_of, parse_metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOLLM2 = "smollm2-135m-instruct-q4_1.gguf"
GEMMA = "gemma-3-270m-q4_k_m.gguf"

START_LIMIT_S = 60  # two loaded cores and a cold page cache
STOP_LIMIT_S = 20

SKIP_STATUS = 77  # tests/e2e/CMakeLists.txt: SKIP_RETURN_CODE


def binary():
    path = os.environ.get("HEDGE_BIN", str(ROOT / "build" / "release" / "hedge"))
    if not os.access(path, os.X_OK):
        raise unittest.SkipTest(f"no program at {path}; build it or set HEDGE_BIN")
    return path


def model(name):
    """The path of a default model, or the test is skipped."""
    folders = [os.environ[v] + s for v, s in (("HEDGE_MODELS", ""), ("HEDGE_HOME", "/models")) if os.environ.get(v)]
    folders.append(os.path.expanduser("~/.local/share/hedge/models"))
    for folder in [f for entry in folders for f in entry.split(":")]:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise unittest.SkipTest(f"no {name} in {', '.join(folders)}; `hedge pull` fetches it, or set HEDGE_MODELS")


def count_from_environment(name, default):
    return int(os.environ.get(name, default))


def main():
    """unittest.main(), with a status of its own when every test was skipped, so that ctest shows it."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    # A class that is skipped as a whole stands in `skipped`, but its tests were not begun.
    begun_and_skipped = sum(isinstance(case, unittest.TestCase) for case, _ in result.skipped)
    sys.exit(SKIP_STATUS if result.skipped and result.testsRun == begun_and_skipped else 0)


class Server:
    """One `hedge serve` process on a free port. Its output goes to a file that a failing test can show."""

    def __init__(self, model_path, *arguments, data_dir=None, environment=None, threads=2):
        self._own_data_dir = None
        if data_dir is None:
            self._own_data_dir = tempfile.TemporaryDirectory(prefix="hedge-e2e-")
            data_dir = self._own_data_dir.name
        self.data_dir = data_dir
        command = [binary(), "serve", "-m", model_path, "--host", "127.0.0.1", "--port", "0", "--data-dir", data_dir,
                   "-t", str(threads), *arguments]
        self._output = []
        self._has_port = threading.Event()
        self.port = None
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        if not self._has_port.wait(START_LIMIT_S) or self.port is None:
            self.kill()
            raise AssertionError(f"no port from {' '.join(command)}\n{self.output()}")

    def _read_output(self):
        for line in self.process.stdout:
            self._output.append(line.decode(errors="replace"))
            found = re.search(r"listening.*http://[^/\s]+:(\d+)", self._output[-1])
            if found and self.port is None:
                self.port = int(found.group(1))
                self._has_port.set()
        self.process.stdout.close()
        self._has_port.set()

    def output(self):
        return "".join(self._output)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        """Without warning, as a crash or the out-of-memory killer does it."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)
        self._clean_up()

    def stop(self):
        """With SIGTERM. Raises when the server does not end by itself, or not cleanly."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {STOP_LIMIT_S} s\n{self.output()}") from None
        self._clean_up()
        if status != 0:
            raise AssertionError(f"the server ended with status {status}\n{self.output()}")

    def running(self):
        return self.process.poll() is None

    def _clean_up(self):
        self._reader.join(STOP_LIMIT_S)
        if self._own_data_dir:
            self._own_data_dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if not self.running():
            status = self.process.returncode
            self._clean_up()
            if kind is None:
                raise AssertionError(f"the server ended by itself with status {status}\n{self.output()}")
        elif kind is None:
            self.stop()
        else:
            self.kill()
            sys.stderr.write(f"--- output of the server\n{self.output()}---\n")

    # Requests. Each opens a connection of its own; Client keeps one.

    def client(self):
        return Client(self.port)

    def request(self, method, path, body=None, headers=None):
        with contextlib.closing(self.client()) as client:
            return client.request(method, path, body, headers)

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def chat(self, prompt_or_messages, **fields):
        """A whole answer; fails the test when the status is not 200."""
        body = {"messages": messages_of(prompt_or_messages), "temperature": 0, **fields}
        if body.get("stream"):
            with contextlib.closing(self.client()) as client:
                return client.stream("/v1/chat/completions", body).read_all()
        return Answer.of_response(self.post("/v1/chat/completions", body))

    def session(self, session):
        """The durable turns of a session."""
        response = self.get(f"/v1/hedge/sessions/{session}")
        if response.status != 200:
            raise AssertionError(f"sessions/{session}: status {response.status}: {response.text}")
        return response.json["turns"]

    def metrics(self):
        response = self.get("/metrics")
        if response.status != 200:
            raise AssertionError(f"/metrics: status {response.status}")
        return parse_metrics(response.text)


def run(*arguments, limit_s=60, memory_bytes=None, stdin=None, environment=None):
    """Runs the binary to its end. Returns (status, stdout, stderr, seconds); the status of a signal is negative."""

    def limit_memory():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    start = time.monotonic()
    try:
        result = subprocess.run([binary(), *arguments], input=stdin, capture_output=True, timeout=limit_s,
                                preexec_fn=limit_memory, env={**os.environ, **(environment or {})},
                                **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    except subprocess.TimeoutExpired:
        raise AssertionError(f"hedge {' '.join(arguments)} did not end within {limit_s} s") from None
    seconds = time.monotonic() - start
    return (result.returncode, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace"), seconds)


def in_parallel(count, function):
    """function(0), ..., function(count - 1), each on a thread; their results in order. The first exception is raised."""
    results = [None] * count
    errors = []

    def work(index):
        try:
            results[index] = function(index)
        except BaseException as error:  # raised again below, on the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def wait_until(condition, limit_s=30, what="a condition"):
    """For what a server only shows when it is asked: asks again, in short steps."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {limit_s} s")
        time.sleep(0.02)
