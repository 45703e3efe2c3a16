#!/usr/bin/env python3
"""Checks that Hedge computes what llama.cpp computes: perplexity and KL divergence, at every kernel level.

For each model llama-perplexity writes its distributions over the text once (kept in --cache: 25 MB per chunk with 49152
tokens, 134 MB with 262144) and says its perplexity. `hedge perplexity --kl-base` then reads them at each level.

    bench/accuracy.py -m a.gguf b.gguf -f wiki.test.raw --chunks 32 --cache /tmp/kl
A base that exists already is named with its model: --kl-base a.gguf=a.kl --ppl a.gguf=22.6515
Exit status 1: a perplexity differs by more than 0.5 %, or a mean KL divergence is above 0.01.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import time

import common

CONTEXT = 512
PPL_DIFF_PCT_MAX = 0.5
KL_MEAN_MAX = 0.01


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_common(parser)
    parser.add_argument("-f", "--file", required=True, help="the text")
    parser.add_argument("--chunks", type=int, default=32, help=f"chunks of {CONTEXT} tokens")
    parser.add_argument("--isa", default="scalar,avx2,avx512", help="kernel levels, separated by ','")
    parser.add_argument("--cache", metavar="DIR", help="folder for the bases; needed unless --kl-base names all")
    parser.add_argument("--kl-base", action="append", default=[], metavar="MODEL=FILE")
    parser.add_argument("--ppl", action="append", default=[], metavar="MODEL=X", help="llama.cpp's, for --kl-base")
    arguments = parser.parse_args()
    common.check_common(arguments)
    if not os.path.isfile(arguments.file):
        common.fail(f"no file at {arguments.file}")
    if arguments.chunks < 1:
        common.fail(f"--chunks is {arguments.chunks}, expected at least 1")
    arguments.kl_base = by_model(arguments, "--kl-base", arguments.kl_base)
    arguments.ppl = by_model(arguments, "--ppl", arguments.ppl)
    for model, text in arguments.ppl.items():
        try:
            arguments.ppl[model] = float(text)
        except ValueError:
            common.fail(f"--ppl {model}={text}: expected a number")
    for model in map(common.model_name, arguments.model):
        if (model in arguments.kl_base) != (model in arguments.ppl):
            common.fail(f"--kl-base and --ppl belong together; {model} has one of them")
        if model not in arguments.kl_base and not arguments.cache:
            common.fail(f"{model}: expected --cache DIR, or --kl-base and --ppl")
    return arguments


def by_model(arguments, option, pairs):
    """MODEL=VALUE by the model's name; MODEL may be the path, the file's name or the name without .gguf."""
    names, found = {common.model_name(m) for m in arguments.model}, {}
    for pair in pairs:
        model, equals, value = pair.partition("=")
        name = pathlib.Path(model).name.removesuffix(".gguf")
        if not equals or name not in names:
            common.fail(f"{option} {pair}: expected MODEL=VALUE with a model of -m ({', '.join(sorted(names))})")
        found[name] = value
    return found


def usable_levels(arguments):
    """The levels asked for that this machine can run."""
    usable = {level["name"] for level in
              common.command_json([arguments.hedge, "doctor", "--json"])["kernel_levels"] if level["usable"]}
    levels = arguments.isa.split(",")
    for level in levels:
        if level not in usable:
            common.note(f"left out: {level} (usable here: {', '.join(sorted(usable))})")
    return [level for level in levels if level in usable]


def make_base(arguments, model):
    """llama.cpp's distributions and perplexity, from the cache or made now."""
    name = common.model_name(model)
    if name in arguments.kl_base:
        return arguments.kl_base[name], arguments.ppl[name]
    cache = pathlib.Path(arguments.cache)
    cache.mkdir(parents=True, exist_ok=True)
    # Other text, another model file or other chunks must not find this base.
    identity = hashlib.sha256(pathlib.Path(arguments.file).read_bytes())
    with open(model, "rb") as file:
        identity.update(file.read(1 << 20) + str(os.path.getsize(model)).encode())
    base = cache / f"{name}-{arguments.chunks}-{identity.hexdigest()[:12]}.kl"
    record = base.with_suffix(".json")
    if base.exists() and record.exists():
        return str(base), json.loads(record.read_text())["ppl"]
    common.note(f"{name}: llama-perplexity over {arguments.chunks} chunks ...")
    part = base.with_suffix(".part")
    _, log = common.command_output([common.llama_program(arguments.llama_dir, "llama-perplexity"), "-m", model, "-f",
                                    arguments.file, "-c", str(CONTEXT), "--chunks", str(arguments.chunks), "-t",
                                    str(arguments.threads), "--kl-divergence-base", str(part)])
    match = re.search(r"Final estimate: PPL = ([0-9.]+)", log)
    if not match:
        common.fail("llama-perplexity: expected 'Final estimate: PPL = X' on standard error")
    record.write_text(json.dumps({"ppl": float(match.group(1))}))
    part.rename(base)
    return str(base), float(match.group(1))


def check(arguments, model, level, base, theirs):
    command = [arguments.hedge, "perplexity", "-m", model, "-f", arguments.file, "-c", str(CONTEXT), "--chunks",
               str(arguments.chunks), "-t", str(arguments.threads), "--kl-base", base, "--json"]
    begin = time.monotonic()
    result = common.command_json(command, {"HEDGE_ISA": level})
    diff = 100 * (result["ppl"] / theirs - 1)
    passed = abs(diff) <= PPL_DIFF_PCT_MAX and result["kl_mean"] <= KL_MEAN_MAX
    row = {"model": common.model_name(model), "isa": level, "ppl": result["ppl"], "ppl_llama": theirs,
           "ppl_diff_pct": diff, "kl_mean": result["kl_mean"], "kl_p99": result["kl_p99"],
           "same_top_pct": result["same_top_pct"], "tokens": result["tokens"], "seconds": time.monotonic() - begin,
           "passed": passed}
    common.note(f"{row['model']} {level}: {'pass' if passed else 'FAIL'} in {row['seconds']:.0f} s")
    return row


def main():
    arguments = parse()
    levels = usable_levels(arguments)
    if not levels:
        common.fail(f"none of {arguments.isa} runs on this machine")
    rows = []
    for model in arguments.model:
        base, theirs = make_base(arguments, model)
        rows += [check(arguments, model, level, base, theirs) for level in levels]
    if arguments.json:
        print(json.dumps({"chunks": arguments.chunks, "context": CONTEXT, "results": rows}, indent=2))
    else:
        head = ["model", "level", "ppl", "llama.cpp", "diff %", "KL mean", "KL p99", "same top %", "result"]
        common.show_table(head, [[r["model"], r["isa"], f"{r['ppl']:.4f}", f"{r['ppl_llama']:.4f}",
                                  f"{r['ppl_diff_pct']:+.3f}", f"{r['kl_mean']:.5f}", f"{r['kl_p99']:.4f}",
                                  f"{r['same_top_pct']:.2f}", "pass" if r["passed"] else "FAIL"] for r in rows],
                          arguments.markdown)
    raise SystemExit(0 if all(r["passed"] for r in rows) else 1)


if __name__ == "__main__":
    main()
