"""A relay between two servers, to see and to cut what passes."""

import contextlib
import socket
import threading


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

    def close(self):
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for end in sockets:
            end.close()
