"""Relays between two servers: to see and to cut what passes, and to be as slow as a link."""

import contextlib
import json
import queue
import random
import socket
import threading
import time


class RecordingProxy:
    """A TCP relay that keeps every byte that its clients sent: what has left the device is what stands here.

    hold_after(N) lets N pieces of text of the next answers through and nothing more, while the target goes on: who waits
    for `held` knows how far the client of the relay has come, however fast the target is.
    tls: an ssl.SSLContext, with which the relay speaks https to its clients.
    """

    PIECE = b'"delta":{"content":'

    def __init__(self, port, tls=None):
        self.target = port
        self._tls = tls
        self.held = threading.Event()
        self._pieces_max = None
        self._lock = threading.Lock()
        self._sent = bytearray()  # towards the target
        self._sockets = set()
        self.closed_at = []  # time.perf_counter() of each connection that its client closed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def sent(self):
        with self._lock:
            return bytes(self._sent)

    def hold_after(self, pieces):
        self.held.clear()
        self._pieces_max = pieces

    def let_go(self):
        """The end of hold_after() for the next answers."""
        self._pieces_max = None

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._tls:
                    client.settimeout(10)
                    client = self._tls.wrap_socket(client, server_side=True)
                    client.settimeout(None)
            except OSError:  # a client that does not trust the certificate
                client.close()
                continue
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
        answer = b""
        try:
            while data := source.recv(65536):
                if outward:
                    with self._lock:
                        self._sent += data
                elif self._pieces_max is not None:
                    before = len(answer)
                    answer += data
                    data = answer[before:self._end_of_pieces(answer)]
                if data:
                    sink.sendall(data)
        except OSError:
            pass
        if outward:
            self.closed_at.append(time.perf_counter())
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _end_of_pieces(self, answer):
        """Up to where `answer` may be passed on."""
        position = 0
        for _ in range(self._pieces_max):
            position = answer.find(self.PIECE, position)
            position = answer.find(b"\n\n", position) if position >= 0 else -1
            if position < 0:
                return len(answer)
        self.held.set()
        return position + 2

    def cut(self):
        """Closes all connections, in mid-answer or not; new ones are taken."""
        with self._lock:
            sockets, self._sockets = list(self._sockets), set()
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self):
        self._listener.close()
        self.cut()


def posts(sent):
    """The requests in what a relay's clients sent: (path, body)."""
    out = []
    for part in sent.split(b"POST ")[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        out.append((head.split(b" ")[0].decode(), json.JSONDecoder().raw_decode(body.decode())[0]))
    return out


class LinkRelay:
    """A TCP relay that is as slow as a link: a delay each way (ms, with jitter), a rate (bytes per second), and loss.

    TCP repairs loss, so a lost segment shows as a wait: each 1460 bytes are late by `RETRANSMIT_S` with probability `loss`,
    and what comes after them waits in line. set_silent(True) lets nothing pass any more and closes nothing, as a dead link
    does. The seed makes a run repeatable as far as the pieces that the kernel hands over are.
    """

    SEGMENT_BYTES = 1460
    RETRANSMIT_S = 0.2  # the smallest time-out of Linux's TCP

    def __init__(self, port, delay_ms=0.0, jitter_ms=0.0, bytes_per_s=None, loss=0.0, seed=1):
        self.target = port
        self._delay, self._jitter, self._rate, self._loss = delay_ms / 1000, jitter_ms / 1000, bytes_per_s, loss
        self._random = random.Random(seed)
        self._passes = threading.Event()
        self._passes.set()
        self._closed = False
        self._sockets = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def set_silent(self, silent):
        self._passes.clear() if silent else self._passes.set()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                target = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                target.settimeout(None)
            except OSError:
                return
            self._sockets |= {client, target}
            for source, sink in ((client, target), (target, client)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = queue.Queue(1024)  # (time it arrives, bytes); a full one holds the sender back
                threading.Thread(target=self._read, args=(source, line), daemon=True).start()
                threading.Thread(target=self._write, args=(line, sink, source), daemon=True).start()

    def _read(self, source, line):
        free_at = 0.0  # when the link has sent what was given to it
        with contextlib.suppress(OSError):
            while data := source.recv(self.SEGMENT_BYTES):
                now = time.monotonic()
                free_at = max(now, free_at) + (len(data) / self._rate if self._rate else 0)
                if self._loss and self._random.random() < self._loss:
                    free_at += self.RETRANSMIT_S
                line.put((free_at + self._delay + self._random.random() * self._jitter, data))
        line.put((time.monotonic() + self._delay, b""))

    def _write(self, line, sink, source):
        with contextlib.suppress(OSError):
            while True:
                at, data = line.get()
                time.sleep(max(0, at - time.monotonic()))
                self._passes.wait()
                if self._closed or not data:
                    break
                sink.sendall(data)
        for end in (sink, source):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._closed = True
        self._listener.close()
        self._passes.set()
        for end in list(self._sockets):
            end.close()
