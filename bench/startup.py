#!/usr/bin/env python3
"""Measures a new process: time to its first token beside llama.cpp's, and its peak memory.

--ttft: from starting the process to the first byte on its standard output, for a raw prompt of --prompt-tokens tokens,
greedy, the file in the page cache (each program runs once uncounted). `hedge run --raw` and llama.cpp's
llama-completion run in turn; llama-completion both as it comes and with --no-warmup, which leaves out its empty run.

--memory: the greatest resident set (ru_maxrss, mapped file pages included) of `hedge run -c 4096` that reads a prompt
and writes 8 tokens, against file size + KV cache of these tokens + 40 MB. The KV cache's size is what `hedge show` says
for 4096 tokens, in proportion.

    bench/startup.py -m a.gguf b.gguf --ttft --memory -t 2 -r 5
Exit status 1: more memory than the limit.
"""
import argparse
import json
import os
import re
import subprocess
import time

import common

CONTEXT = 4096
ALLOWANCE_BYTES = 40_000_000  # everything but weights and KV cache
ANSWER_TOKENS = 8
WORDS = ("The river rises in the hills above the town and runs for a long way through meadows and small woods before "
         "it reaches the sea at last near the old").split()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_common(parser)
    parser.add_argument("--ttft", action="store_true", help="time to first token")
    parser.add_argument("--memory", action="store_true", help="peak memory")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("-p", "--prompt-tokens", type=int, default=32, help="prompt length for --ttft")
    parser.add_argument("--memory-prompts", default="32,2048", help="prompt lengths for --memory")
    arguments = parser.parse_args()
    common.check_common(arguments)
    if arguments.rounds < 1 or arguments.prompt_tokens < 4:
        common.fail("expected -r >= 1 and -p >= 4")
    try:
        arguments.memory_prompts = [int(text) for text in arguments.memory_prompts.split(",")]
    except ValueError:
        common.fail(f"--memory-prompts is {arguments.memory_prompts}, expected lengths like 32,2048")
    if not all(4 <= length <= CONTEXT - ANSWER_TOKENS for length in arguments.memory_prompts):
        common.fail(f"--memory-prompts: expected lengths from 4 to {CONTEXT - ANSWER_TOKENS}")
    if not (arguments.ttft or arguments.memory):
        arguments.ttft = arguments.memory = True
    return arguments


def hedge_run(arguments, model, prompt, tokens):
    return [arguments.hedge, "run", model, "--raw", "-t", str(arguments.threads), "-c", str(CONTEXT), "-n", str(tokens),
            "--temperature", "0", prompt]


def prompt_of(arguments, model, length):
    """A text of exactly so many tokens, the one at the beginning included where the model has one."""
    def count_tokens(words):
        text = " ".join((WORDS * (words // len(WORDS) + 1))[:words])
        answer = common.command_json(hedge_run(arguments, model, text, 1) + ["--json"])
        return text, answer["usage"]["prompt_tokens"]

    words = length - 1
    for _ in range(8):
        text, count = count_tokens(words)
        if count == length:
            return text
        words += length - count
    common.fail(f"found no text of {length} tokens for {model}, the last had {count}")


def first_byte_seconds(command):
    """From before the process exists to its first byte of output; the process is let run to its end."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          bufsize=0) as process:
        first = process.stdout.read(1)
        seconds = time.monotonic() - begin
        _, errors = process.communicate(timeout=common.TIMEOUT_S)
    errors = errors.decode(errors="replace")
    if process.returncode != 0 or not first:
        common.fail(f"{' '.join(command)} ended with status {process.returncode}\n{errors[-500:]}")
    return seconds, errors


def check_llama_prompt(errors, length):
    # Unequal prompts would make the comparison worthless, so llama.cpp's own count is read from its report.
    match = re.search(r"prompt eval time =.*?/\s*(\d+) tokens", errors)
    if match and int(match.group(1)) != length:
        common.fail(f"llama-completion read a prompt of {match.group(1)} tokens, expected {length}")


def measure_ttft(arguments, model):
    prompt = prompt_of(arguments, model, arguments.prompt_tokens)
    llama = [common.llama_program(arguments.llama_dir, "llama-completion"), "-m", model, "-t", str(arguments.threads),
             "-c", str(CONTEXT), "-no-cnv", "--no-display-prompt", "-n", "1", "--temp", "0", "-p", prompt]
    commands = {"hedge": hedge_run(arguments, model, prompt, 1), "llama": llama,
                "llama_no_warmup": llama + ["--no-warmup"]}
    seconds = {name: [] for name in commands}
    for i in range(arguments.rounds + 1):
        for name, command in commands.items():
            value, errors = first_byte_seconds(command)
            if i == 0:
                if name != "hedge":
                    check_llama_prompt(errors, arguments.prompt_tokens)
                continue
            seconds[name].append(value)
        if i > 0:
            common.note(f"{common.model_name(model)} round {i}/{arguments.rounds}: " + ", ".join(
                f"{name} {values[-1]:.3f} s" for name, values in seconds.items()))
    result = {"model": common.model_name(model), "prompt_tokens": arguments.prompt_tokens}
    result.update({name: common.summary(values) for name, values in seconds.items()})
    result["share"] = result["hedge"]["median"] / result["llama"]["median"]
    result["share_no_warmup"] = result["hedge"]["median"] / result["llama_no_warmup"]["median"]
    return result


def peak_bytes(command):
    """ru_maxrss of one process; a new process begins with this script's own, which is far below a model's."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        common.fail(f"{' '.join(command[:4])} ... ended with status {process.returncode}")
    return usage.ru_maxrss * 1024


def measure_memory(arguments, model, length):
    prompt = prompt_of(arguments, model, length)
    memory = common.command_json([arguments.hedge, "show", model, "--json"])["memory"]
    # The list holds the model's own longest context too, which may be below 4096; bytes grow with tokens evenly.
    sizes = min(memory, key=lambda m: abs(m["context_tokens"] - CONTEXT))
    tokens = length + ANSWER_TOKENS
    kv_bytes = sizes["kv_bytes"] * tokens // sizes["context_tokens"]
    peak = peak_bytes(hedge_run(arguments, model, prompt, ANSWER_TOKENS) + ["--ignore-eos"])
    limit = sizes["file_bytes"] + kv_bytes + ALLOWANCE_BYTES
    return {"model": common.model_name(model), "prompt_tokens": length, "peak_bytes": peak, "limit_bytes": limit,
            "file_bytes": sizes["file_bytes"], "kv_bytes": kv_bytes,
            "beyond_file_and_kv_bytes": peak - sizes["file_bytes"] - kv_bytes, "within": peak <= limit}


def show(ttft, memory, markdown):
    ms = lambda s: f"{1e3 * s['median']:.0f} ({1e3 * s['min']:.0f} to {1e3 * s['max']:.0f})"
    if ttft:
        head = ["model", "prompt", "hedge ms (extent)", "llama.cpp ms (extent)", "without warm-up ms (extent)", "share",
                "share without"]
        common.show_table(head, [[r["model"], str(r["prompt_tokens"]), ms(r["hedge"]), ms(r["llama"]),
                                  ms(r["llama_no_warmup"]), f"{r['share']:.2f}", f"{r['share_no_warmup']:.2f}"]
                                 for r in ttft], markdown)
    if ttft and memory:
        print()
    if memory:
        mb = lambda count: f"{count / 1e6:.1f}"
        head = ["model", "prompt", "peak MB", "file MB", "KV MB", "beyond MB", "limit MB", "within"]
        common.show_table(head, [[r["model"], str(r["prompt_tokens"]), mb(r["peak_bytes"]), mb(r["file_bytes"]),
                                  mb(r["kv_bytes"]), mb(r["beyond_file_and_kv_bytes"]), mb(r["limit_bytes"]),
                                  "yes" if r["within"] else "NO"] for r in memory], markdown)


def main():
    arguments = parse()
    ttft = [measure_ttft(arguments, model) for model in arguments.model] if arguments.ttft else []
    memory = [measure_memory(arguments, model, length) for model in arguments.model
              for length in arguments.memory_prompts] if arguments.memory else []
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "ttft": ttft, "memory": memory}, indent=2))
    else:
        show(ttft, memory, arguments.markdown)
    raise SystemExit(0 if all(r["within"] for r in memory) else 1)


if __name__ == "__main__":
    main()
