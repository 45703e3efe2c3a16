"""The disk tier of the KV cache: a restarted `hedge serve` finds the prompts of the one before it, and nothing that
happens to the files changes an answer."""

import pathlib
import shutil
import stat
import tempfile
import unittest

import harness
from harness import Server

# The model is sure of what comes next, so that the last bits do not decide.
PROMPT = ", ".join(str(n) for n in range(1, 400)) + ","
PAGE_TOKENS = 64


class Restart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="hedge-kv-")
        self.addCleanup(folder.cleanup)
        self.data_dir = folder.name
        self.kv = pathlib.Path(self.data_dir) / "kv"

    def serve(self, *arguments, model=harness.SMOLLM2):
        return Server(harness.model(model), *arguments, data_dir=self.data_dir)

    def ask(self, server):
        response = server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 8, "temperature": 0})
        self.assertEqual(response.status, 200, response.text)
        return response.json["choices"][0]["text"], response.json["usage"]

    def first(self, *arguments, **kinds):
        with self.serve(*arguments, **kinds) as server:
            text, usage = self.ask(server)
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
            self.tokens = usage["prompt_tokens"]
            self.assertGreater(self.tokens, 4 * PAGE_TOKENS)
        return text

    def test_a_restarted_server_knows_its_prompts(self):
        for model in (harness.SMOLLM2, harness.GEMMA):
            text = self.first(model=model)
            with self.serve(model=model) as server:
                again, usage = self.ask(server)
                self.assertEqual(again, text)
                self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], self.tokens - 1)
                self.assertGreater(server.metrics()["hedge_kv_disk_read_pages_total"], self.tokens // PAGE_TOKENS - 1)

    def test_others_cannot_read_it(self):
        self.first()
        self.assertEqual(stat.S_IMODE(self.kv.stat().st_mode), 0o700)
        for file in self.kv.iterdir():
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)

    def test_broken_files_change_no_answer(self):
        text = self.first()
        files = sorted(self.kv.iterdir())
        for i, file in enumerate(files):
            content = bytearray(file.read_bytes())
            if i % 3 == 2:
                content = content[:len(content) // 2]
            else:
                content[len(content) - 1 - i * 1000 if i % 3 else 40] ^= 16
            file.write_bytes(content)
        with self.serve() as server:
            again, usage = self.ask(server)
            self.assertEqual(again, text)
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertGreater(server.metrics()["hedge_kv_disk_rejected_files_total"], 0)
        with self.serve() as server:  # written again
            self.assertEqual(self.ask(server)[1]["prompt_tokens_details"]["cached_tokens"], self.tokens - 1)

    def test_the_folder_may_vanish(self):
        text = self.first()
        with self.serve() as server:
            shutil.rmtree(self.kv)
            self.assertEqual(self.ask(server)[0], text)
            self.assertEqual(self.ask(server)[0], text)

    def test_it_can_be_turned_off(self):
        self.first("--kv-disk", "0")
        self.assertFalse(self.kv.exists())
        with self.serve("--kv-disk", "0") as server:
            self.assertEqual(self.ask(server)[1]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_an_unusable_folder_is_a_warning(self):
        self.kv.write_text("a file")
        with self.serve() as server:
            self.ask(server)
            self.assertIn("the KV cache is not kept on disk", server.output())


if __name__ == "__main__":
    harness.main()
