#!/usr/bin/env python3
"""Finds thresholds for the confidence rule (docs/routing.md) of the model that a server runs.

Asks each item greedily through POST /v1/chat/completions with log-probabilities (hedge serve or llama-server), takes
margin and entropy of every token from them, and prints for a grid of thresholds which share of the wrong and of the right
answers would be escalated. Items are JSON lines {"messages": [...], "accept": REGEX, "group"?}; an answer that the
expression is found in is right. Thresholds are chosen on one half of the groups and reported on the other.

    bench/calibrate_confidence.py --url http://127.0.0.1:8080 --items items.jsonl --target 0.25
"""
import argparse
import json
import math
import random
import re
import sys
import urllib.request

UNSEEN_TOKENS = 1000  # the mass outside the listed tokens is spread over so many; bounds the entropy from below


def ask(url, messages, max_tokens, top):
    # A request that says "local" is not escalated by the rule that is being calibrated.
    body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0, "logprobs": True, "top_logprobs": top,
            "hedge": {"route": "local"}}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.loads(reply.read())["choices"][0]


def figures(choice):
    margins, entropies = [], []
    for token in choice["logprobs"]["content"]:
        p = sorted((math.exp(top["logprob"]) for top in token["top_logprobs"]), reverse=True)
        rest = max(0.0, 1 - sum(p))
        margins.append(p[0] - (p[1] if len(p) > 1 else 0))
        entropy = -sum(x * math.log(x) for x in p if x > 0)
        entropies.append(entropy - (rest * math.log(rest / UNSEEN_TOKENS) if rest > 1e-9 else 0))
    return margins, entropies


def quantile(values, q):  # Hyndman and Fan's type 7, as in src/route/confidence.cc
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = int(position)
    above = ordered[min(below + 1, len(ordered) - 1)]
    return ordered[below] + (position - below) * (above - ordered[below])


def unsure(row, rule):
    tokens, margin_q, margin_min, entropy_q, entropy_max = rule
    return (quantile(row["margins"][:tokens], margin_q) < margin_min or
            quantile(row["entropies"][:tokens], entropy_q) > entropy_max)


def share(rows, rule):
    return sum(unsure(row, rule) for row in rows) / len(rows) if rows else float("nan")


def split(rows):
    return [r for r in rows if not r["right"]], [r for r in rows if r["right"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--items", required=True)
    parser.add_argument("--count", type=int, default=400, help="items drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--top", type=int, default=20, help="alternatives asked for per token")
    parser.add_argument("--target", type=float, default=0.25, help="largest share of all answers to escalate")
    arguments = parser.parse_args()

    with open(arguments.items, encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    items = [item for item in items if "messages" in item]
    random.Random(arguments.seed).shuffle(items)
    rows = []
    for item in items[:arguments.count]:
        choice = ask(arguments.url, item["messages"], arguments.max_tokens, arguments.top)
        margins, entropies = figures(choice)
        if margins:
            # PCRE's end of text, \z, is \Z here.
            accept = item["accept"].replace(r"\z", r"\Z")
            right = re.search(accept, choice["message"]["content"] or "") is not None
            rows.append({"right": right, "margins": margins, "entropies": entropies,
                         "group": item.get("group", len(rows))})
    halves = [[], []]
    coin = {}
    chooser = random.Random(arguments.seed + 1)
    for row in rows:
        halves[coin.setdefault(row["group"], chooser.randrange(2))].append(row)
    fit, test = halves
    wrong, right = split(fit)
    if not wrong or not right or not all(split(test)):
        sys.exit(f"expected right and wrong answers in both halves, got {len(rows)} answers, "
                 f"{sum(r['right'] for r in rows)} right")

    rules = [(tokens, margin_q, margin_min, entropy_q, entropy_max)
             for tokens in (3, 4, 6, 8, 12)
             for margin_q, margin_min in ((0.5, 0), (0.25, 0.03), (0.25, 0.08), (0.5, 0.08), (0.5, 0.15), (0.5, 0.25))
             for entropy_q in (0.5, 0.75, 1)
             for entropy_max in (1.5, 2, 2.5, 2.75, 3, 3.25, 3.5, 4, 4.5, 99)]
    allowed = [rule for rule in rules if 0 < share(fit, rule) <= arguments.target]
    allowed.sort(key=lambda rule: share(right, rule) - share(wrong, rule))
    print(f"{len(rows)} answers, {sum(not r['right'] for r in rows)} wrong; best of {len(rules)} rules on "
          f"{len(fit)}, reported on the other {len(test)}")
    print("tokens margin_quantile margin_min entropy_quantile entropy_max  escalated: wrong  right")
    test_wrong, test_right = split(test)
    for rule in allowed[:10]:
        print("{:6} {:15} {:10} {:16} {:11}".format(*rule),
              f"{share(test_wrong, rule):18.2f} {share(test_right, rule):6.2f}")


if __name__ == "__main__":
    main()
