"""The client's side of the wire: a connection, a response, an answer whose form is checked on the way, the metrics."""

import codecs
import http.client
import json
import re
import socket

ANSWER_LIMIT_S = 120  # between two reads of one answer


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
        try:
            self.connection.request(method, path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # A server that refuses a request may close before it has read all of it; its answer counts.
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
