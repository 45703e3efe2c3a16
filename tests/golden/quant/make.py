#!/usr/bin/env python3
"""Writes dequantize_*.txt and quantize_*.txt beside itself with the numpy code of the PyPI package `gguf`, which is an
implementation of its own (pip install gguf numpy; python make.py).

Each line after the header is one block: its bytes in hex, a bar, its values. Values have nine digits, enough to give
every float back exactly."""
import pathlib

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type

FOLDER = pathlib.Path(__file__).parent
RNG = np.random.Generator(np.random.PCG64(20240607))
READ = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
WRITTEN = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
ADDED = ["IQ4_NL", "IQ4_XS", "Q3_K", "Q2_K"]  # read as well; last, so that the others keep their random numbers
# Where the f16 scales lie in a block.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "IQ4_NL": [0], "IQ4_XS": [0], "Q3_K": [108], "Q2_K": [80, 82]}


def random_blocks(name, count):
    size = gguf.GGML_QUANT_SIZES[Type[name]][1]
    blocks = RNG.integers(0, 256, (count, size), dtype=np.uint8)
    if name in ("F32", "F16", "BF16"):
        dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.float32}[name]
        values = (RNG.standard_normal(count) * np.exp(RNG.uniform(-8, 8, count))).astype(dtype)
        values[:4] = [0, -0.0, 6e-8, -65504]  # with an f16 subnormal and the largest f16
        bytes_ = values.view(np.uint8).reshape(count, -1)
        return bytes_[:, 2:].copy() if name == "BF16" else bytes_.copy()
    for offset in SCALES[name]:
        scales = (RNG.standard_normal(count) * np.exp(RNG.uniform(-6, 2, count))).astype(np.float16)
        scales[0] = 3e-6  # an f16 subnormal
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
    return blocks


def random_values(name, count):
    per_block = gguf.GGML_QUANT_SIZES[Type[name]][0]
    values = RNG.standard_normal((count, per_block)).astype(np.float32) * np.exp(RNG.uniform(-5, 5, (count, 1))).astype(np.float32)
    if per_block > 1:
        values[0] = 0
        values[1] = np.float32(0.25)
        values[2] = np.arange(per_block, dtype=np.float32) - per_block // 2  # ties in the rounding
        values[3] = np.abs(values[3])
    return values


def write(path, what, blocks, values):
    rows = [f"{bytes(b).hex()} | {' '.join('%.9g' % v for v in row)}" for b, row in zip(blocks, values)]
    head = f"# {what}; made by tests/golden/quant/make.py with gguf 0.19.0"
    path.write_text("\n".join([head, *rows]) + "\n")


def write_read(name):
    blocks = random_blocks(name, 24 if name in ("F32", "F16", "BF16") else 2 if gguf.GGML_QUANT_SIZES[Type[name]][0] == 256 else 6)
    raw = blocks.reshape(-1).view(np.float16 if name == "F16" else np.float32 if name == "F32" else np.uint8)
    shaped = raw.reshape(len(blocks), -1)
    values = gguf.dequantize(shaped, Type[name])
    write(FOLDER / f"dequantize_{name.lower()}.txt", f"{name} blocks and the values they decode to", blocks, values)


for name in READ:
    write_read(name)
for name in WRITTEN:
    values = random_values(name, 24 if name in ("F16", "BF16") else 8)
    blocks = gguf.quantize(values, Type[name]).reshape(len(values), -1).view(np.uint8)
    write(FOLDER / f"quantize_{name.lower()}.txt", f"{name} blocks that the values are encoded to", blocks, values)
for name in ADDED:
    write_read(name)
