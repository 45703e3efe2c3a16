#!/usr/bin/env python3
"""What a switch in mid-answer costs in quality: the local model begins, the stronger one goes on, in each manner and at several
places, and the joined text is judged by the stronger model itself, against its own uninterrupted answer to the same prompt.

  bench/switch.py -m smollm2.gguf --upstream gemma.gguf --peer llama --manners prefix instruct --json a.json
  bench/switch.py -m smollm2.gguf --upstream smollm2.gguf --peer llama --manners tokens prefix raw instruct
  bench/switch.py -m smollm2.gguf --upstream gemma.gguf --peer hedge --manners prefix

`--peer` says who serves the stronger model: llama-server (HEDGE_LLAMA_SERVER, otherwise the PATH) or another Hedge. Prompts,
cuts and the seed of the bootstrap are fixed; decoding is greedy.

  perplexity    exp of the mean negative log-probability per token, over all prompts, under the stronger model
  of the rest   the same of the upstream's part alone, given what stood before it
  ratio         perplexity over that of the uninterrupted answer, with a 95 % interval: 2,000 paired bootstrap samples of prompts
  switched      answers in which the upstream wrote after the switch; the others are left out of the row
"""

import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from common import add_common, check_common, note, show_table  # noqa: E402

TOPICS = ["the sea", "bread", "bicycles", "volcanoes", "sleep", "the moon", "honey bees", "trains", "mathematics", "coffee",
          "rivers", "chess", "glass", "winter", "the human heart", "maps", "paper", "salt", "bridges", "languages"]
FORMS = ["Explain in a few sentences how {} came to matter to people.", "Write the beginning of a short story about {}.",
         "List four facts about {}.", "Why do children ask so many questions about {}?",
         "What should somebody who has never heard of {} know first?", "Compare {} with something else of your choice."]
SAMPLES = 2000

CONFIG = """
[upstream]
name = "peer"
base_url = "{url}"
model = "peer"
continuation = "{manner}"
first_token_timeout_ms = 60000
gap_timeout_ms = 60000
[policy]
race_after_ms = 0
[policy.confidence]
enabled = false
"""


def prompts(count):
    """The first `count`, in an order that mixes forms and topics."""
    every = [form.format(topic) for topic in TOPICS for form in FORMS]
    random.Random(7).shuffle(every)
    return every[:count]


def ask_all(device, todo, hedge, tokens, at_once=2):
    """[(backend, text), ...] of each prompt's answer, in order."""
    out, waiting, lock = [None] * len(todo), iter(list(enumerate(todo))), threading.Lock()

    def work():
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            answer = device.chat(item[1], max_tokens=tokens, temperature=0, stream=True, hedge=hedge).check_whole()
            out[item[0]] = answer.parts()

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(parts is None for parts in out):
        raise SystemExit("switch.py: an answer failed; see above")
    return out


class Judge:
    """The stronger model as the program score_answers: (tokens, negative log-probability in nats) of texts."""

    def __init__(self, program, model, threads):
        self.command = [program, model, str(threads)]
        self.known = {}

    def score(self, pairs):
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        lines = "".join(json.dumps({"messages": [{"role": "user", "content": prompt}], "text": text}) + "\n"
                        for prompt, text in fresh)
        done = subprocess.run(self.command, input=lines, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"switch.py: {done.stderr.strip()}")
        for pair, line in zip(fresh, done.stdout.splitlines()):
            found = json.loads(line)
            self.known[pair] = (found["tokens"], found["nll"])
        return [self.known[pair] for pair in pairs]


def perplexity(scores):
    return math.exp(sum(nll for _, nll in scores) / sum(tokens for tokens, _ in scores))


def compared(scores, own):
    """Perplexity, and its ratio to that of the same prompts' own answers with the 95 % interval."""
    rng = random.Random(1)
    ratios = []
    for _ in range(SAMPLES):
        picked = [rng.randrange(len(scores)) for _ in scores]
        ratios.append(perplexity([scores[i] for i in picked]) / perplexity([own[i] for i in picked]))
    ratios.sort()
    at = lambda share: ratios[int(share * (SAMPLES - 1))]
    return {"perplexity": perplexity(scores), "ratio": perplexity(scores) / perplexity(own), "lo": at(0.025), "hi": at(0.975)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--upstream", required=True, metavar="FILE", help="the stronger model")
    parser.add_argument("--peer", choices=["llama", "hedge"], default="llama")
    parser.add_argument("--manners", nargs="+", default=["prefix"], choices=["tokens", "prefix", "raw", "instruct"])
    parser.add_argument("--cuts", nargs="+", type=int, default=[4, 16], help="local tokens before the switch (%(default)s)")
    parser.add_argument("--count", type=int, default=100, help="prompts, at most 120 (%(default)s)")
    parser.add_argument("--tokens", type=int, default=48, help="the longest answer (%(default)s)")
    parser.add_argument("--judge", default=str(ROOT / "build/release/score_answers"), metavar="PROGRAM")
    arguments = parser.parse_args()
    check_common(arguments)
    if not 10 <= arguments.count <= len(TOPICS) * len(FORMS):
        parser.error(f"--count: expected 10 to {len(TOPICS) * len(FORMS)}")
    os.environ["HEDGE_BIN"] = arguments.hedge
    import harness
    import peers
    import unittest
    try:
        peer = (peers.LlamaServer if arguments.peer == "llama" else peers.HedgePeer)(arguments.upstream)
    except unittest.SkipTest as missing:
        raise SystemExit(str(missing)) from None
    todo = prompts(arguments.count)
    own, local, joined = None, None, {}
    try:
        for manner in arguments.manners:
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
                config.write(CONFIG.format(url=f"http://127.0.0.1:{peer.port}", manner=manner))
                config.flush()
                with harness.Server(arguments.model[0], "-c", "1024", "--slots", "2", "--config", config.name,
                                    threads=1) as device:
                    if own is None:
                        note("the stronger model alone, the local model alone ...")
                        own = ask_all(device, todo, {"route": "upstream"}, arguments.tokens)
                        local = ask_all(device, todo, {"route": "local"}, arguments.tokens)
                    for cut in arguments.cuts:
                        note(f"{manner}, switched after {cut} tokens ...")
                        joined[manner, cut] = ask_all(device, todo, {"escalate_after": cut}, arguments.tokens)
    finally:
        peer.stop()

    note("judging ...")
    judge = Judge(arguments.judge, arguments.upstream, arguments.threads)
    text = lambda parts: "".join(part for _, part in parts)
    own_scores = judge.score([(p, text(parts)) for p, parts in zip(todo, own)])
    figures = [{"who": "the stronger model alone", **compared(own_scores, own_scores), "switched": len(todo)},
               {"who": "the local model alone",
                **compared(judge.score([(p, text(parts)) for p, parts in zip(todo, local)]), own_scores), "switched": 0}]
    for (manner, cut), answers in joined.items():
        # The local model after an upstream that could not go on is no joined text.
        kept = [i for i, parts in enumerate(answers) if [who for who, _ in parts] == ["local", "peer"]]
        row = {"who": manner, "cut": cut, "switched": len(kept)}
        if len(kept) >= 10:
            whole = judge.score([(todo[i], text(answers[i])) for i in kept])
            start = judge.score([(todo[i], answers[i][0][1]) for i in kept])
            base = [own_scores[i] for i in kept]
            rest = [(max(w[0] - s[0], 0), w[1] - s[1]) for w, s in zip(whole, start)]
            row.update(compared(whole, base))
            row["rest"] = compared(rest, base)
        figures.append(row)
    if arguments.json:
        print(json.dumps({"figures": figures, "count": len(todo), "peer": arguments.peer}))
        return
    number = lambda row, key="perplexity": f"{row[key]:.2f}" if key in row else ""
    interval = lambda row: f"{row['ratio']:.2f} ({row['lo']:.2f}-{row['hi']:.2f})" if "ratio" in row else ""
    show_table(["written by", "local tokens", "switched", "perplexity", "ratio", "of the rest", "ratio"],
               [[row["who"], str(row.get("cut", "")), str(row["switched"]), number(row), interval(row),
                 number(row.get("rest", {})), interval(row.get("rest", {}))] for row in figures], arguments.markdown)


if __name__ == "__main__":
    main()
