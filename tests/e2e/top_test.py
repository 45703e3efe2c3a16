"""`hedge top`: one frame as text, and live in a pseudo-terminal: it draws, follows a changed size, and leaves the terminal as it
was however it ends."""

import contextlib
import fcntl
import http.server
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
import unittest

import harness
from harness import SMOLLM2, Server

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
LIMIT_S = 30


class Terminal:
    """`hedge top` in a pseudo-terminal of its own."""

    def __init__(self, *arguments, columns=80, rows=24):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.seen = b""
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen([harness.binary(), "top", *arguments], stdin=slave, stdout=slave, stderr=slave,
                                        env=environment, start_new_session=True, preexec_fn=self._own_terminal)
        self.slave = slave

    @staticmethod
    def _own_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, pattern):
        """Reads on until what came since the last call matches."""
        end = time.monotonic() + LIMIT_S
        start = len(self.seen)
        while not re.search(pattern, self.seen[start:]):
            if time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} within {LIMIT_S} s in\n{self.seen[start:].decode(errors='replace')}")
            self._read(0.1)
        return self.seen[start:]

    def _read(self, limit_s):
        if select.select([self.master], [], [], limit_s)[0]:
            self.seen += os.read(self.master, 65536)

    def type(self, keys):
        os.write(self.master, keys)

    def wait(self):
        """Its exit status; the terminal must be as it was before."""
        end = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            if time.monotonic() > end:
                self.process.kill()
                raise AssertionError("it did not end")
            self._read(0.05)
        while select.select([self.master], [], [], 0.05)[0]:
            self._read(0)
        self.check_left()
        return self.process.returncode

    def check_left(self):
        assert self.seen.rfind(LEAVE) > self.seen.rfind(ENTER) >= 0, "the alternate screen was not left"
        assert termios.tcgetattr(self.slave) == self.before, "the terminal's settings are not what they were"

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(harness.model(SMOLLM2), "--slots", "2", "--api-key", "secret")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def terminal(self, *arguments, **size):
        terminal = Terminal("--url", self.server.url, "--key", "secret", "--interval", "0.2", *arguments, **size)
        self.addCleanup(terminal.close)
        return terminal

    def once(self, *arguments, environment=None):
        return harness.run("top", "--once", *arguments, environment={"NO_COLOR": "1", **(environment or {})})

    def test_one_frame_as_text(self):
        status, out, err, _ = self.once("--url", self.server.url, environment={"HEDGE_API_KEY": "secret"})
        self.assertEqual((status, err), (0, ""))
        for said in ("requests", "tokens/s", "RUNNING HERE  0 of 2 slots", "UPSTREAM", "memory", self.server.url):
            self.assertIn(said, out)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("secret", out)

    def test_the_key_may_stand_in_the_servers_file(self):
        path = os.path.join(self.server.data_dir, "top.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'[server]\nport = {self.server.port}\napi_key_env = "TOP_TEST_KEY"\n')
        status, out, _, _ = self.once("--config", path, environment={"TOP_TEST_KEY": "secret"})
        self.assertEqual(status, 0)
        self.assertIn("RUNNING HERE", out)

    def test_errors_say_what_to_do(self):
        for arguments, said in (((self.server.url,), "asks for an API key"), ((self.server.url, "--key", "x"), "does not take"),
                                (("http://127.0.0.1:9",), "no server at http://127.0.0.1:9"),
                                (("ftp://127.0.0.1",), "no server")):
            status, out, err, _ = self.once("--url", *arguments)
            self.assertEqual((status, out), (1, ""), err)
            self.assertIn(said, err)
        self.assertEqual(self.once("--interval", "0")[0], 2)

    def test_another_server_is_named_as_such(self):
        said_by = {}

        class Other(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = (200, b"{}") if self.path == "/health" else said_by["answer"]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                for answer, said in (((404, b"not here"), "it is no Hedge"), ((200, b"<html></html>"), "not as a Hedge does"),
                                     ((200, b'{"status":"ok"}'), "not as a Hedge does"), ((500, b""), "status 500")):
                    said_by["answer"] = answer
                    for form in ("--once", "--json"):
                        status, out, err, _ = harness.run("top", form, "--url", f"http://127.0.0.1:{server.server_port}")
                        self.assertEqual((status, out), (1, ""), err)
                        self.assertIn(said, err)
            finally:
                server.shutdown()

    def test_live(self):
        terminal = self.terminal()
        first = terminal.read_until(rb"q quits")
        self.assertIn(ENTER, first)
        self.assertIn(b"0 of 2 slots", first)
        thread = threading.Thread(target=lambda: self.server.post(
            "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 300, "ignore_eos": True, "temperature": 0},
            {"Authorization": "Bearer secret"}))
        thread.start()
        try:
            terminal.read_until(rb"1 of 2 slots(?s:.)*writes(?s:.)*q quits")
        finally:
            thread.join()
        terminal.read_until(rb"100 % here(?s:.)*gate\.no_upstream")
        terminal.resize(40, 10)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.read_until(rb"\x1b\[J")
        frame = terminal.read_until(rb"\x1b\[H(?s:.)*q quits(?s:.)*\x1b\[J")
        last = frame[frame.rindex(b"\x1b[H"):] if frame.count(b"\x1b[J") == 1 else frame.split(b"\x1b[J")[-2]
        lines = last.decode().replace("\r", "").split("\n")  # the terminal makes \r\r\n of \r\n
        self.assertEqual(len(lines), 10)
        for line in lines:
            self.assertLessEqual(len(re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", line)), 40, line)
        terminal.type(b"q")
        self.assertEqual(terminal.wait(), 0)

    def test_it_leaves_the_terminal_however_it_ends(self):
        for end, status in ((lambda t: t.type(b"\x03"), 0), (lambda t: t.process.send_signal(signal.SIGTERM), 0),
                            (lambda t: t.process.send_signal(signal.SIGSEGV), -signal.SIGSEGV),
                            (lambda t: t.process.send_signal(signal.SIGHUP), -signal.SIGHUP)):
            terminal = self.terminal()
            terminal.read_until(rb"q quits")
            end(terminal)
            self.assertEqual(terminal.wait(), status)

    def test_it_can_be_stopped_and_goes_on(self):
        terminal = self.terminal()
        terminal.read_until(rb"q quits")
        terminal.process.send_signal(signal.SIGTSTP)
        os.waitpid(terminal.process.pid, os.WUNTRACED)
        while select.select([terminal.master], [], [], 0.05)[0]:
            terminal._read(0)
        terminal.check_left()
        terminal.process.send_signal(signal.SIGCONT)
        terminal.read_until(re.escape(ENTER) + rb"(?s:.)*q quits")
        terminal.type(b"q")
        self.assertEqual(terminal.wait(), 0)

    def test_a_server_that_goes_away_is_waited_for(self):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(contextlib.closing(_Stopping(Server(harness.model(SMOLLM2)))))
            terminal = Terminal("--url", server.server.url, "--interval", "0.2")
            self.addCleanup(terminal.close)
            terminal.read_until(rb"q quits")
            server.close()
            terminal.read_until(rb"not current: ")
            terminal.type(b"q")
            self.assertEqual(terminal.wait(), 0)


class _Stopping:
    """A server that may be stopped twice."""

    def __init__(self, server):
        self.server = server

    def close(self):
        if self.server is not None:
            self.server.stop()
        self.server = None


if __name__ == "__main__":
    harness.main()
