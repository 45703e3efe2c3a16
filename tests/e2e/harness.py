"""What the end-to-end tests share: the real binary as a process, an HTTP client that sees every byte, model files.

Standard library only. Nothing here sleeps to wait for something: it reads until what it waits for has come, and every wait
has a limit.

Environment:
  HEDGE_BIN      the binary (default: build/release/hedge of this tree)
  HEDGE_MODELS   folder with the two default models; where it is not set, $HEDGE_HOME/models and
                 ~/.local/share/hedge/models are tried. Without the models the tests that need them are skipped.
"""

import codecs
import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOLLM2 = "smollm2-135m-instruct-q4_1.gguf"
GEMMA = "gemma-3-270m-q4_k_m.gguf"

START_LIMIT_S = 60  # two loaded cores and a cold page cache
ANSWER_LIMIT_S = 120  # between two reads of one answer
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
    sys.exit(SKIP_STATUS if result.testsRun == len(result.skipped) else 0)


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


def messages_of(prompt_or_messages):
    if isinstance(prompt_or_messages, str):
        return [{"role": "user", "content": prompt_or_messages}]
    return prompt_or_messages


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # lower-case names
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))


class Client:
    """One kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_LIMIT_S)

    def close(self):
        self.connection.close()

    def _send(self, method, path, body, headers):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        self.connection.request(method, path, body, headers)
        return self.connection.getresponse()

    def request(self, method, path, body=None, headers=None):
        response = self._send(method, path, body, headers)
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, fields, response.read())

    def stream(self, path, body, headers=None):
        """Sends with stream: true and returns an Answer that has read nothing but the head yet."""
        response = self._send("POST", path, {**body, "stream": True}, headers)
        if response.status != 200:
            raise AssertionError(f"status {response.status}: {response.read().decode(errors='replace')}")
        return Answer(response, path)

    def abort(self):
        """Resets the connection: the other side's next write fails."""
        if self.connection.sock:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()


class Answer:
    """An answer of /v1/chat/completions or /v1/completions, from a body or from a stream, with its form checked on the
    way: what a strict client would stumble over raises AssertionError."""

    def __init__(self, response, path="/v1/chat/completions"):
        self._response = response
        self._chat = path.endswith("chat/completions")
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = ""
        self.pieces = []  # the text of each chunk
        self.chunks = []  # the JSON of each event
        self.finish_reason = None
        self.usage = None
        self.hedge = None
        self.error = None
        self.done = False  # [DONE] came
        self.logprobs = []
        kind = self.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise AssertionError(f"content type of a stream: {kind}")

    @staticmethod
    def of_response(response):
        if response.status != 200:
            raise AssertionError(f"status {response.status}: {response.text}")
        answer = Answer.__new__(Answer)
        body = response.json
        choice = body["choices"][0]
        answer.headers = response.headers
        answer.body = body
        answer.content = choice["message"]["content"] if "message" in choice else choice["text"]
        answer.finish_reason = choice["finish_reason"]
        answer.usage = body["usage"]
        answer.hedge = body["hedge"]
        answer.logprobs = (choice.get("logprobs") or {}).get("content") or []
        answer.error = None
        answer.done = True
        return answer

    def events(self):
        """The data of each server-sent event, as text, up to the end of the stream."""
        decoder = codecs.getincrementaldecoder("utf-8")()  # strict: raises on broken UTF-8
        for line in self._response:
            text = decoder.decode(line)
            if text.strip() == "" or text.startswith(":"):
                continue
            if not text.startswith("data: "):
                raise AssertionError(f"not an event: {text!r}")
            yield text[len("data: "):].rstrip("\r\n")

    def __iter__(self):
        """The JSON of each event, until [DONE] or the end of the connection."""
        try:
            for data in self.events():
                if self.done:
                    raise AssertionError(f"after [DONE]: {data!r}")
                if data == "[DONE]":
                    self.done = True
                    continue
                chunk = json.loads(data)
                self._take(chunk)
                yield chunk
        except (http.client.HTTPException, ConnectionError, TimeoutError):
            return  # cut off: done stays False

    def _take(self, chunk):
        self.chunks.append(chunk)
        if "error" in chunk:
            self.error = chunk["error"]
            return
        self.usage = chunk.get("usage") or self.usage
        self.hedge = chunk.get("hedge") or self.hedge
        for choice in chunk["choices"]:
            if self.finish_reason is not None:
                raise AssertionError("a choice after finish_reason")
            text = choice["delta"].get("content") if self._chat else choice["text"]
            if text:
                self.content += text
                self.pieces.append(text)
            if choice.get("logprobs"):
                self.logprobs += choice["logprobs"].get("content") or []
            self.finish_reason = choice.get("finish_reason")

    def read_all(self):
        for _ in self:
            pass
        return self

    def read_pieces(self, count):
        """Reads until `count` pieces of text have come, or the end."""
        for _ in self:
            if len(self.pieces) >= count:
                break
        return self

    def check_whole(self):
        """What holds for every answer that ended as it should."""
        if self.error:
            raise AssertionError(f"the answer ended in an error: {self.error}")
        if not self.done:
            raise AssertionError("no [DONE]")
        if self.finish_reason not in ("stop", "length"):
            raise AssertionError(f"finish_reason {self.finish_reason!r}")
        check_segments(self.hedge, self.content)
        return self

    def parts(self):
        """[(backend, text)] by the segments of the trace."""
        return split_by_segments(self.hedge["segments"], self.content)

    def backends(self):
        return [segment["backend"] for segment in self.hedge["segments"]]


def check_segments(hedge, content):
    if hedge is None:
        raise AssertionError("no hedge object")
    for key in ("id", "session", "route", "reasons", "segments"):
        if key not in hedge:
            raise AssertionError(f"no {key} in {hedge}")
    total = sum(segment["bytes"] for segment in hedge["segments"])
    size = len(content.encode())
    if total != size:
        raise AssertionError(f"segments {hedge['segments']} are {total} bytes, the content is {size}")
    for before, after in zip(hedge["segments"], hedge["segments"][1:]):
        if before["backend"] == after["backend"]:
            raise AssertionError(f"neighbours of one backend in {hedge['segments']}")


def split_by_segments(segments, content):
    data = content.encode()
    parts = []
    for segment in segments:
        # Strict: a switch never falls into a character.
        parts.append((segment["backend"], data[: segment["bytes"]].decode("utf-8")))
        data = data[segment["bytes"]:]
    return parts


def parse_metrics(text):
    """Prometheus text format 0.0.4, strictly: {name or name{labels}: value}."""
    values = {}
    types = {}
    for line in text.splitlines():
        if not line:
            continue
        if line.startswith("# "):
            found = re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)", line)
            if not found:
                raise AssertionError(f"not a metric comment: {line!r}")
            if found.group(1) == "TYPE":
                types[found.group(2)] = found.group(3)
            continue
        label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
        found = re.fullmatch(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{{{label}(?:,{label})*\}})? (\S+)", line)
        if not found:
            raise AssertionError(f"not a metric: {line!r}")
        name, labels, value = found.groups()
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        if name not in types and family not in types:
            raise AssertionError(f"no TYPE before {line!r}")
        key = name + (labels or "")
        if key in values:
            raise AssertionError(f"twice: {key}")
        values[key] = float(value)
    return values


class RecordingProxy:
    """A TCP relay that keeps every byte that its clients sent: what has left the device is what stands here."""

    def __init__(self, port):
        self.target = port
        self._lock = threading.Lock()
        self._sent = bytearray()  # towards the target
        self._received = 0  # bytes from the target
        self._news = threading.Condition(self._lock)
        self._sockets = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def sent(self):
        with self._lock:
            return bytes(self._sent)

    def received_bytes(self):
        with self._lock:
            return self._received

    def wait_received(self, count, limit_s=ANSWER_LIMIT_S):
        """Until at least `count` bytes have come from the target."""
        with self._news:
            return self._news.wait_for(lambda: self._received >= count, limit_s)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                target = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                target.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, target}
            threading.Thread(target=self._pump, args=(client, target, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(target, client, False), daemon=True).start()

    def _pump(self, source, sink, outward):
        try:
            while data := source.recv(65536):
                with self._news:
                    if outward:
                        self._sent += data
                    else:
                        self._received += len(data)
                    self._news.notify_all()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for end in sockets:
            end.close()


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
