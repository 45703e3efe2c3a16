#!/usr/bin/env python3
"""Compares the speed of `hedge bench` with llama.cpp's and ik_llama.cpp's llama-bench on the same files, and with the
machine's limits.

The programs run in turn, one counted repetition (after a warm-up of its own) each, so that a slow minute of the machine
meets all. A ratio is that of the medians; beside it stands the median of the rounds' own ratios, which differs where
the machine's speed drifted. ik_llama.cpp runs with -rtr 1 (weights repacked at load), its best setting.

Limits are what `hedge doctor` measures before and after the rounds (the better of the two). Decode is compared with the
reading of memory: the bytes of all weights that one token needs (the KV cache left out), times tokens per second.
Prefill is compared with int8 arithmetic: two operations per weight of the layers, times tokens per second.

    bench/compare.py -m a.gguf b.gguf -t 2 -p 512 -n 128 -r 5
    bench/compare.py -m a.gguf --ik-dir ~/ik_llama.cpp/build/bin --svg chart.svg
With --busy N so many endless loops run beside, on the same processors; each round begins with Hedge alone, and shown is which
part of that is left, against the fair share of its threads: processors / (threads + N).

    bench/compare.py -m a.gguf -n 64 -d 8000 -r 3
    bench/compare.py -m a.gguf -p 0 -n 64 --busy 2
"""
import argparse
import contextlib
import html
import json
import math
import os
import statistics
import subprocess
import sys

import common


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_common(parser)
    parser.add_argument("-p", "--prompt", type=int, default=512, help="prompt length of prefill; 0: none")
    parser.add_argument("-n", "--generate", type=int, default=128, help="answer length of decode; 0: none")
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens in the context before the answer; with one, decode "
                        "alone is measured; Hedge and ik_llama.cpp keep keys and values in 8 bits, llama.cpp in 16, its "
                        "fastest way")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="how often each program runs (default %(default)s)")
    parser.add_argument("--ik-dir", metavar="DIR", help="folder with ik_llama.cpp's programs (a build of its source); "
                        "left out without it")
    parser.add_argument("--svg", metavar="FILE", help="write a chart of the ratios as well")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="endless loops that run beside (default 0)")
    parser.add_argument("--isa", help="kernel level for hedge (HEDGE_ISA); default: the best of the machine")
    arguments = parser.parse_args()
    common.check_common(arguments)
    if arguments.rounds < 1 or arguments.prompt < 0 or arguments.generate < 0 or arguments.depth < 0 or \
            arguments.busy < 0:
        common.fail("expected -r >= 1, -p >= 0, -n >= 0, -d >= 0 and --busy >= 0")
    if arguments.depth:
        arguments.prompt = 0
    if arguments.prompt == arguments.generate == 0:
        common.fail("nothing to measure: -p and -n are both 0")
    return arguments


def hedge_speeds(arguments, model, environment):
    """{"pp512": tokens per second, "tg128": ...} of one repetition, and the kernel level."""
    command = [arguments.hedge, "bench", "-m", model, "-t", str(arguments.threads), "-r", "1", "-p",
               str(arguments.prompt), "-n", str(arguments.generate), "-d", str(arguments.depth), "--json"]
    results = common.command_json(command, environment)
    return {r["test"]: r["tokens_per_second"] for r in results}, results[0]["isa"]


def peers_of(arguments):
    """{name: (program, more arguments)}"""
    tests = ["-p", str(arguments.prompt), "-n", str(arguments.generate)]
    peers = {"llama.cpp": (common.llama_program(arguments.llama_dir, "llama-bench"),
                           [*tests, *(["-d", str(arguments.depth)] if arguments.depth else [])])}
    if arguments.ik_dir:
        at_depth = ["-p", "0", "-n", "0", "-gp", f"{arguments.depth},{arguments.generate}", "-ctk", "q8_0", "-ctv", "q8_0"]
        peers["ik_llama.cpp"] = (common.program_in(arguments.ik_dir, "llama-bench"),
                                 ["-rtr", "1", *(at_depth if arguments.depth else tests)])
    return peers


def peer_speeds(arguments, peer, model):
    """{"pp512": tokens per second, ...}, or nothing where the program cannot run the file."""
    program, more = peer
    command = [program, "-m", model, "-t", str(arguments.threads), "-r", "1", "-o", "json", *more]
    # ik_llama.cpp's answer at a depth is listed with the prompt before it, whose time it leaves out.
    at = f"@d{arguments.depth}" if arguments.depth else ""
    return {f"tg{r['n_gen']}{at}" if r["n_gen"] else f"pp{r['n_prompt']}": r["avg_ts"]
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


@contextlib.contextmanager
def busy_loops(count):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(arguments, peers, model, environment):
    name, hedge, alone, isa = common.model_name(model), [], [], ""
    others = {peer: [] for peer in peers}
    for i in range(arguments.rounds):
        if arguments.busy:
            alone.append(hedge_speeds(arguments, model, environment)[0])
        with busy_loops(arguments.busy):
            speeds, isa = hedge_speeds(arguments, model, environment)
            hedge.append(speeds)
            for peer, runs in others.items():
                runs.append(peer_speeds(arguments, peers[peer], model))
        common.note(f"{name} round {i + 1}/{arguments.rounds}: " + ", ".join(
            f"{test} hedge {speed:.1f}" + "".join(f" {peer} {runs[-1].get(test, 0):.1f}" for peer, runs in others.items())
            for test, speed in speeds.items()))
    read_bytes, weights = work_per_token(arguments.hedge, model)
    results = []
    for test in hedge[0]:
        ours = [s[test] for s in hedge]
        result = {"model": name, "file": os.path.abspath(model), "test": test, "isa": isa,
                  "hedge": common.summary(ours), "peers": {},
                  "read_bytes_per_token": read_bytes, "layer_weights": weights}
        if alone:
            share = len(os.sched_getaffinity(0)) / (arguments.threads + arguments.busy)
            result["alone"] = common.summary([s[test] for s in alone])
            result["of_fair_share"] = statistics.median(
                busy / (free[test] * min(1, share)) for busy, free in zip(ours, alone))
        for peer, runs in others.items():
            if any(test not in speeds for speeds in runs):
                common.fail(f"{peer}'s llama-bench gave no {test}")
            theirs = [s[test] for s in runs]
            result["peers"][peer] = {
                **common.summary(theirs), "ratio": statistics.median(ours) / statistics.median(theirs),
                "ratio_of_rounds": statistics.median(a / b for a, b in zip(ours, theirs))}
        results.append(result)
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
    row = [result["model"], result["test"], speed(result["hedge"])]
    for peer in result["peers"].values():
        row += [speed(peer), f"{peer['ratio']:.2f}", f"{peer['ratio_of_rounds']:.2f}"]
    if "alone" in result:
        row += [speed(result["alone"]), f"{100 * result['of_fair_share']:.0f} %"]
    return row + ["-" if percent is None else f"{percent:.0f} % of {result['limit']}"]


def geometric_means(results):
    """{(kind of test, peer): geometric mean of the ratios}"""
    ratios = {}
    for result in results:
        for peer, figures in result["peers"].items():
            ratios.setdefault((result["test"], peer), []).append(figures["ratio"])
    return {key: math.exp(sum(map(math.log, values)) / len(values)) for key, values in ratios.items()}


def chart(results, caption):
    """An SVG of tokens per second: for each model and test one bar per program, as a part of the fastest."""
    colours = {"hedge": "#1b6ac9", "llama.cpp": "#9aa5b1", "ik_llama.cpp": "#c9a227"}
    text = 'font-family="sans-serif" font-size="12" fill="#222"'
    left, width, bar, gap = 210, 420, 14, 12
    y, out = 30, []
    for result in results:
        speeds = {"hedge": result["hedge"]["median"], **{p: f["median"] for p, f in result["peers"].items()}}
        best = max(speeds.values())
        label = html.escape(f"{result['model']} {result['test']}")
        out.append(f'<text x="{left - 8}" y="{y + bar * len(speeds) / 2 + 4}" text-anchor="end" {text}>{label}</text>')
        for name, speed in speeds.items():
            long = width * speed / best
            out.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 2}" fill="{colours[name]}"/>'
                       f'<text x="{left + long + 6:.1f}" y="{y + bar - 3}" {text}>{speed:,.0f}</text>')
            y += bar
        y += gap
    legend = "".join(f'<rect x="{left + 120 * i}" y="8" width="12" height="12" fill="{colours[name]}"/>'
                     f'<text x="{left + 120 * i + 18}" y="18" {text}>{name}</text>'
                     for i, name in enumerate(["hedge", *results[0]["peers"]]))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{y + 24}">'
            f'<rect width="100%" height="100%" fill="#fff"/>{legend}{"".join(out)}'
            f'<text x="10" y="{y + 12}" {text}>tokens per second; {html.escape(caption)}</text></svg>\n')


def main():
    arguments = parse()
    peers = peers_of(arguments)
    environment = {"HEDGE_ISA": arguments.isa} if arguments.isa else {}
    cpu, before = machine_limits(arguments, environment)
    results = [r for model in arguments.model for r in measure(arguments, peers, model, environment)]
    limits = best_limits(before, machine_limits(arguments, environment)[1])
    add_limits(results, limits)
    caption = (f"{cpu}, {arguments.threads} threads, {results[0]['isa']}, {arguments.rounds} rounds; limits: reading "
               f"{limits['read_gb_per_second']:.1f} GB/s, int8 {limits['int8_gop_per_second']:.0f} Gop/s.")
    if arguments.depth:
        caption += f" At a depth of {arguments.depth} tokens."
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(chart(results, caption))
    means = geometric_means(results)
    if arguments.json:
        print(json.dumps({"cpu": cpu, "limits": limits, "threads": arguments.threads, "rounds": arguments.rounds,
                          "results": results,
                          "geometric_means": [{"test": test, "peer": peer, "ratio": ratio}
                                              for (test, peer), ratio in means.items()]}, indent=2))
        return
    head = ["model", "test", "hedge t/s (extent)"]
    for peer in peers:
        head += [f"{peer} t/s (extent)", "ratio", "of rounds"]
    if arguments.busy:
        head += ["hedge alone", "of fair share"]
        caption += f" {arguments.busy} endless loops beside."
    common.show_table(head + ["limit"], [row_of(r) for r in results], arguments.markdown)
    print("\nGeometric means: " + ", ".join(f"{test} {ratio:.2f} of {peer}" for (test, peer), ratio in means.items()) + ".")
    print(caption)


if __name__ == "__main__":
    main()
