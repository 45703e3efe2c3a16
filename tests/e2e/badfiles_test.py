"""Broken model files, configurations and names: a clear error on standard error and a status that is not 0, in seconds,
without a crash and without eating the machine's memory."""

import os
import random
import struct
import tempfile
import unittest

import harness

LIMIT_S = 5  # for one command on a broken file
# Room for the program and a mapping, not for what a hostile count asks for.
MEMORY_BYTES = 4 << 30

U32, STRING, ARRAY, U64 = 4, 8, 9, 10  # value types of GGUF
F32 = 0  # tensor type


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, payload):
    return string(key) + struct.pack("<I", kind) + payload


def tensor(name, dims, kind=F32, offset=0):
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(entries=(), tensors=(), data=b"", version=3, tensor_count=None, entry_count=None, magic=b"GGUF"):
    head = magic + struct.pack("<IQQ", version, len(tensors) if tensor_count is None else tensor_count,
                               len(entries) if entry_count is None else entry_count)
    body = head + b"".join(entries) + b"".join(tensors)
    return body + b"\0" * (-len(body) % 32) + data


ARCHITECTURE = entry("general.architecture", STRING, string("llama"))
HUGE = (1 << 64) - 1

BROKEN = {
    "empty": b"",
    "one byte": b"G",
    "magic alone": b"GGUF",
    "other magic": gguf([ARCHITECTURE], magic=b"GGML"),
    "version 0": gguf([ARCHITECTURE], version=0),
    "version of the future": gguf([ARCHITECTURE], version=1000),
    "byte order swapped": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "text": b"This is not a model.\n" * 100,
    "zeros": b"\0" * 65536,
    "huge entry count": gguf([ARCHITECTURE], entry_count=HUGE),
    "huge tensor count": gguf([ARCHITECTURE], tensor_count=HUGE),
    "large tensor count": gguf([ARCHITECTURE], tensor_count=1 << 32),
    "huge key length": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE),
    "key length past the end": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1000) + b"abc",
    "unknown value type": gguf([entry("x", 99, b"\0" * 8)]),
    "huge array": gguf([entry("x", ARRAY, struct.pack("<IQ", U32, HUGE))]),
    "large array": gguf([entry("x", ARRAY, struct.pack("<IQ", U64, 1 << 40))]),
    "array of huge strings": gguf([entry("x", ARRAY, struct.pack("<IQQ", STRING, 2, HUGE))]),
    "array of arrays of arrays": gguf([entry("x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 10000)]),
    "the same key twice": gguf([ARCHITECTURE, ARCHITECTURE]),
    "alignment 0": gguf([ARCHITECTURE, entry("general.alignment", U32, struct.pack("<I", 0))]),
    "alignment 3": gguf([ARCHITECTURE, entry("general.alignment", U32, struct.pack("<I", 3))]),
    "tensor past the end": gguf([ARCHITECTURE], [tensor("token_embd.weight", [64, 64])], b"\0" * 64),
    "tensor offset overflows": gguf([ARCHITECTURE], [tensor("t", [32], offset=HUGE - 31)], b"\0" * 128),
    "tensor size overflows": gguf([ARCHITECTURE], [tensor("t", [1 << 32, 1 << 32])], b"\0" * 128),
    "tensor of no elements": gguf([ARCHITECTURE], [tensor("t", [0])], b"\0" * 128),
    "tensor of too many dimensions": gguf([ARCHITECTURE], [tensor("t", [1] * 100)], b"\0" * 128),
    "unknown tensor type": gguf([ARCHITECTURE], [tensor("t", [32], kind=9999)], b"\0" * 128),
    "tensor offset between blocks": gguf([ARCHITECTURE], [tensor("t", [1], offset=1)], b"\0" * 128),
    "two tensors of one name": gguf([ARCHITECTURE], [tensor("t", [1]), tensor("t", [1], offset=32)], b"\0" * 128),
}
# Well-formed files that hold no model that can run: they can be shown, and the message is about what is missing.
NO_MODEL = {
    "header alone": gguf(),
    "no architecture": gguf([entry("general.name", STRING, string("x"))]),
    "unknown architecture": gguf([entry("general.architecture", STRING, string("nonesuch"))]),
    "architecture of another type": gguf([entry("general.architecture", U32, struct.pack("<I", 7))]),
    "architecture without the rest": gguf([ARCHITECTURE]),
    "a tensor and no more": gguf([ARCHITECTURE], [tensor("token_embd.weight", [64, 64])], b"\0" * 16384),
}
for _seed in range(3):
    _random = random.Random(_seed)
    BROKEN[f"random bytes {_seed}"] = _random.randbytes(10000)
    BROKEN[f"random bytes after the magic {_seed}"] = b"GGUF\3\0\0\0" + _random.randbytes(10000)


class BrokenModels(unittest.TestCase):
    def check_refused(self, said, *arguments):
        status, _, errors, seconds = harness.run(*arguments, limit_s=60, memory_bytes=MEMORY_BYTES)
        self.assertGreater(status, 0, f"ended by signal {-status}" if status < 0 else f"status 0\n{errors}")
        self.assertTrue(errors.strip(), "nothing on standard error")
        self.assertIn(said, errors)
        self.assertNotIn("check failed", errors)
        self.assertLess(seconds, LIMIT_S)

    def commands(self, path):
        yield "show", path
        yield "run", path, "Hello", "--max-tokens", "1"
        yield "serve", "-m", path, "--port", "0", "--data-dir", os.path.dirname(path)

    def test_each_is_refused_by_each_command(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, data in BROKEN.items():
                path = os.path.join(folder, "broken.gguf")
                with open(path, "wb") as file:
                    file.write(data)
                for command in self.commands(path):
                    with self.subTest(name, command=command[0]):
                        self.check_refused("broken.gguf", *command)

    def test_well_formed_files_without_a_model_do_not_run(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, data in NO_MODEL.items():
                path = os.path.join(folder, "broken.gguf")
                with open(path, "wb") as file:
                    file.write(data)
                for command in self.commands(path):
                    if command[0] == "show":
                        continue
                    with self.subTest(name, command=command[0]):
                        self.check_refused("hedge:", *command)

    def test_truncated_models_are_refused(self):
        whole = harness.model(harness.SMOLLM2)
        size = os.path.getsize(whole)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "truncated.gguf")
            with open(whole, "rb") as source, open(path, "wb") as copy:
                while data := source.read(1 << 24):
                    copy.write(data)
            for length in (size - 1, size - 4096, size // 2, 2_000_000, 100_000, 1000, 24, 23):
                os.truncate(path, length)
                for command in self.commands(path):
                    with self.subTest(length=length, command=command[0]):
                        self.check_refused("truncated.gguf", *command)

    def test_what_is_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in (os.path.join(folder, "absent.gguf"), os.path.join(folder, "folder.gguf")):
                if path.endswith("folder.gguf"):
                    os.mkdir(path)
                for command in self.commands(path):
                    with self.subTest(path=os.path.basename(path), command=command[0]):
                        self.check_refused(os.path.basename(path), *command)


class BrokenWords(unittest.TestCase):
    def refused(self, *arguments):
        status, _, errors, seconds = harness.run(*arguments)
        self.assertGreater(status, 0, f"ended by signal {-status}" if status < 0 else "status 0")
        self.assertTrue(errors.strip(), "nothing on standard error")
        self.assertLess(seconds, LIMIT_S)
        return errors

    def test_an_unknown_model_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            for command in (("run", "no-such-model", "Hello"), ("show", "no-such-model"),
                            ("serve", "-m", "no-such-model", "--port", "0", "--data-dir", folder)):
                with self.subTest(command=command[0]):
                    self.assertIn("no-such-model", self.refused(*command))

    def test_unknown_options_and_commands(self):
        self.assertIn("--no-such-option", self.refused("serve", "--no-such-option"))
        self.refused("no-such-command")
        self.refused("serve", "--port", "99999")
        self.refused("run")

    def test_a_wrong_key_names_its_line(self):
        for text, line in (("[server]\nport = 0\nprot = 1\n", 3), ("\n\n[sever]\nport = 1\n", 3),
                           ("[server]\nport = \"x\"\n", 2), ("[server]\nport = 70000\n", 2),
                           ("[model]\nslots = 4\nthreads = true\n", 3), ("[server\nport = 1\n", 1),
                           ("[policy.confidence]\nenabled = true\nfirst_margin_min = \"low\"\n", 3)):
            with self.subTest(text), tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
                config.write(text)
                config.flush()
                errors = self.refused("serve", "-m", "any", "--config", config.name)
                self.assertIn(os.path.basename(config.name), errors)
                self.assertRegex(errors, rf"(line |:){line}\b", errors)

    def test_a_database_that_is_none(self):
        model = harness.model(harness.SMOLLM2)
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "hedge.db"), "w") as file:
                file.write("This is not a database. " * 100)
            errors = self.refused("serve", "-m", model, "--port", "0", "--data-dir", folder)
            self.assertIn("hedge.db", errors)
            self.assertIn("not a database", errors)


if __name__ == "__main__":
    harness.main()
