"""Other people's servers as upstreams, and another Hedge: one process each, on a free loopback port. Those that are not
installed raise SkipTest; scripts/nightly installs them.

Environment:
  HEDGE_LLAMA_SERVER  llama-server of llama.cpp; otherwise the PATH is searched
  HEDGE_VLLM          the program `vllm`;      HEDGE_VLLM_MODEL    a model in Hugging Face's form (a folder)
  HEDGE_LITERT        the program `litert-lm`; HEDGE_LITERT_MODEL  a .litertlm file
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import harness
from wire import Client


def named(variable, what, program=None):
    """What an environment variable names, or the test is skipped."""
    path = os.environ.get(variable) or (shutil.which(program) if program else None)
    if not path or not os.path.exists(path):
        raise unittest.SkipTest(f"no {what}; scripts/nightly installs one, or set {variable}")
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Peer:
    """A server process that speaks OpenAI's API. Its helpers die with it."""

    NAME = ""
    MODEL = "peer"
    START_LIMIT_S = 60

    def __init__(self, command, environment=None):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                        env={**os.environ, **(environment or {})}, start_new_session=True)
        try:
            harness.wait_until(self._ready, self.START_LIMIT_S, self.NAME)
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            tail = self.log.read().decode(errors="replace")[-2000:]
            raise AssertionError(f"{self.NAME} ended with status {self.process.returncode}\n{tail}")
        try:
            return self.get("/v1/models").status == 200
        except OSError:
            return False

    def get(self, path):
        with contextlib.closing(Client(self.port)) as client:
            return client.request("GET", path)

    def busy(self):
        """Whether it works on an answer; None where it does not say."""
        return None

    def stop(self):
        # The whole group: engines in processes of their own outlive a parent that is killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.log.close()


class LlamaServer(Peer):
    NAME = "llama-server"

    def __init__(self, model):
        program = named("HEDGE_LLAMA_SERVER", "llama-server", "llama-server")
        self.port = free_port()
        super().__init__([program, "-m", model, "-c", "4096", "-t", "1", "-np", "2", "--alias", self.MODEL,
                          "--host", "127.0.0.1", "--port", str(self.port), "--no-warmup", "--slots"])

    def busy(self):
        return any(slot["is_processing"] for slot in self.get("/slots").json)


class Vllm(Peer):
    NAME = "vLLM"
    START_LIMIT_S = 400  # nearly all of it is imports

    def __init__(self):
        program = named("HEDGE_VLLM", "vLLM")
        model = named("HEDGE_VLLM_MODEL", "model for vLLM")
        self.port = free_port()
        super().__init__(
            [program, "serve", model, "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", self.MODEL,
             "--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "4", "--enforce-eager"],
            {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
             "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_HOST_IP": "127.0.0.1"})

    def busy(self):
        running = re.search(r"^vllm:num_requests_running\{[^}]*\} (\S+)", self.get("/metrics").text, re.MULTILINE)
        return float(running.group(1)) > 0


class LiteRt(Peer):
    """Speaks HTTP/1.0, answers errors with HTML pages, knows neither max_tokens nor how to continue an answer."""

    NAME = "LiteRT-LM"
    START_LIMIT_S = 120

    def __init__(self):
        program = named("HEDGE_LITERT", "LiteRT-LM")
        model = named("HEDGE_LITERT_MODEL", "model for LiteRT-LM")
        self.port = free_port()
        self._home = tempfile.TemporaryDirectory(prefix="hedge-litert-")
        home = {"HOME": self._home.name}
        subprocess.run([program, "import", model, self.MODEL], check=True, capture_output=True,
                       env={**os.environ, **home}, timeout=self.START_LIMIT_S)
        super().__init__([program, "serve", "--host", "127.0.0.1", "--port", str(self.port)], home)

    def stop(self):
        super().stop()
        self._home.cleanup()


class HedgePeer(Peer):
    NAME = "Hedge"

    def __init__(self, model):
        self.port = free_port()
        self._data = tempfile.TemporaryDirectory(prefix="hedge-peer-")
        super().__init__([harness.binary(), "serve", "-m", model, "-c", "2048", "-t", "1", "--slots", "2", "--alias", self.MODEL,
                          "--host", "127.0.0.1", "--port", str(self.port), "--data-dir", self._data.name])

    def stop(self):
        super().stop()
        self._data.cleanup()
