#!/usr/bin/env python3
"""Compares the speed of `hedge bench` and llama.cpp's llama-bench on the same files, and with the machine's limits.

The two run in turn, one counted repetition (after a warm-up of its own) each, so that a slow minute of the machine
meets both. The ratio is that of the medians; beside it stands the median of the rounds' own ratios, which differs where
the machine's speed drifted.

Limits are what `hedge doctor` measures before and after the rounds (the better of the two). Decode is compared with the
reading of memory: the bytes of all weights that one token needs (the KV cache left out), times tokens per second.
Prefill is compared with int8 arithmetic: two operations per weight of the layers, times tokens per second.

    bench/compare.py -m a.gguf b.gguf -t 2 -p 512 -n 128 -r 5
"""
import argparse
import json
import os
import statistics

import common


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common.add_common(parser)
    parser.add_argument("-p", "--prompt", type=int, default=512, help="prompt length of prefill; 0: none")
    parser.add_argument("-n", "--generate", type=int, default=128, help="answer length of decode; 0: none")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--isa", help="kernel level for hedge (HEDGE_ISA); default: the best of the machine")
    arguments = parser.parse_args()
    common.check_common(arguments)
    if arguments.rounds < 1 or arguments.prompt < 0 or arguments.generate < 0:
        common.fail("expected -r >= 1, -p >= 0 and -n >= 0")
    if arguments.prompt == arguments.generate == 0:
        common.fail("nothing to measure: -p and -n are both 0")
    return arguments


def hedge_speeds(arguments, model, environment):
    """{"pp512": tokens per second, "tg128": ...} of one repetition, and the kernel level."""
    command = [arguments.hedge, "bench", "-m", model, "-t", str(arguments.threads), "-r", "1", "-p",
               str(arguments.prompt), "-n", str(arguments.generate), "--json"]
    results = common.command_json(command, environment)
    return {r["test"]: r["tokens_per_second"] for r in results}, results[0]["isa"]


def llama_speeds(arguments, program, model):
    command = [program, "-m", model, "-t", str(arguments.threads), "-r", "1", "-p", str(arguments.prompt), "-n",
               str(arguments.generate), "-o", "json"]
    return {f"pp{r['n_prompt']}" if r["n_prompt"] else f"tg{r['n_gen']}": r["avg_ts"]
            for r in common.command_json(command)}


def work_per_token(hedge, model):
    """Bytes of weights one decoded token reads, and weights one prompt token is multiplied with."""
    tensors = common.command_json([hedge, "show", model, "--tensors", "--json"])["tensors"]
    # Without an output matrix of its own a model uses the embedding for it and reads all of it; with one, the embedding
    # costs one row. Of a prompt only the last token needs logits, so prefill counts the layers alone.
    own_output = any(t["name"] == "output.weight" for t in tensors)
    read = sum(t["bytes"] for t in tensors if not (own_output and t["name"] == "token_embd.weight"))
    weights = 0
    for tensor in tensors:
        if tensor["name"].startswith("blk.") and len(tensor["dims"]) >= 2:
            count = 1
            for size in tensor["dims"]:
                count *= size
            weights += count
    return read, weights


def machine_limits(arguments, environment):
    doctor = common.command_json([arguments.hedge, "doctor", "--json"], environment)
    return doctor.get("cpu", ""), doctor.get("limits") or {}


def best_limits(before, after):
    return {key: max(before.get(key) or 0, after.get(key) or 0)
            for key in ("read_gb_per_second", "int8_gop_per_second")}


def measure(arguments, program, model, environment):
    name, hedge, llama, isa = common.model_name(model), [], [], ""
    for i in range(arguments.rounds):
        speeds, isa = hedge_speeds(arguments, model, environment)
        hedge.append(speeds)
        llama.append(llama_speeds(arguments, program, model))
        common.note(f"{name} round {i + 1}/{arguments.rounds}: " + ", ".join(
            f"{test} hedge {speeds[test]:.1f} llama.cpp {llama[-1].get(test, 0):.1f}" for test in speeds))
    read_bytes, weights = work_per_token(arguments.hedge, model)
    results = []
    for test in hedge[0]:
        if any(test not in speeds for speeds in llama):
            common.fail(f"llama-bench gave no {test}")
        ours, theirs = [s[test] for s in hedge], [s[test] for s in llama]
        results.append({"model": name, "file": os.path.abspath(model), "test": test, "isa": isa,
                        "hedge": common.summary(ours), "llama": common.summary(theirs),
                        "ratio": statistics.median(ours) / statistics.median(theirs),
                        "ratio_of_rounds": statistics.median(a / b for a, b in zip(ours, theirs)),
                        "read_bytes_per_token": read_bytes, "layer_weights": weights})
    return results


def add_limits(results, limits):
    for r in results:
        # A prompt's weights are read once for many tokens, so memory is not what limits it.
        speed = r["hedge"]["median"]
        if r["test"].startswith("tg"):
            r["limit"], achieved, limit = "memory", speed * r["read_bytes_per_token"] / 1e9, limits["read_gb_per_second"]
        else:
            r["limit"], achieved, limit = "int8", speed * 2 * r["layer_weights"] / 1e9, limits["int8_gop_per_second"]
        r["achieved"], r["limit_pct"] = achieved, 100 * achieved / limit if limit else None


def row_of(result):
    percent = result["limit_pct"]
    speed = lambda s: f"{s['median']:.1f} ({s['min']:.1f} to {s['max']:.1f})"
    return [result["model"], result["test"], speed(result["hedge"]), speed(result["llama"]),
            f"{result['ratio']:.2f}", f"{result['ratio_of_rounds']:.2f}",
            "-" if percent is None else f"{percent:.0f} % of {result['limit']}"]


def main():
    arguments = parse()
    program = common.llama_program(arguments.llama_dir, "llama-bench")
    environment = {"HEDGE_ISA": arguments.isa} if arguments.isa else {}
    cpu, before = machine_limits(arguments, environment)
    results = [r for model in arguments.model for r in measure(arguments, program, model, environment)]
    limits = best_limits(before, machine_limits(arguments, environment)[1])
    add_limits(results, limits)
    if arguments.json:
        print(json.dumps({"cpu": cpu, "limits": limits, "threads": arguments.threads, "rounds": arguments.rounds,
                          "results": results}, indent=2))
        return
    head = ["model", "test", "hedge t/s (extent)", "llama.cpp t/s (extent)", "ratio", "ratio of rounds", "limit"]
    common.show_table(head, [row_of(r) for r in results], arguments.markdown)
    print(f"\n{cpu}, {arguments.threads} threads, {results[0]['isa']}, {arguments.rounds} rounds; limits: reading "
          f"{limits['read_gb_per_second']:.1f} GB/s, int8 {limits['int8_gop_per_second']:.0f} Gop/s.")


if __name__ == "__main__":
    main()
