#!/usr/bin/env python3
"""How well a probe knows that the local answer is wrong, on questions that it was not fitted on.

  bench/probe.py --hedge build/release/hedge -m MODEL --data items.jsonl             five folds by group
  bench/probe.py --hedge build/release/hedge -m MODEL --data items.jsonl --unseen 0  each task with so many of its
                                                                                     labels in the training data

Each fold is left out once: `hedge route probe train` on the rest, `hedge route probe score` on it. Items are JSON
lines with "cell", "group", "messages" or "text", and "accept". Printed: the mean over cells of the AUROC of "wrong"
within the cell (ties count half), with a 95 % interval by bootstrap over groups, pooled AUROC, and the calibration
error over ten equal bins, for p_wrong and p_wrong_before. Python's standard library only.
"""
import argparse
import collections
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def auroc(pairs):
    """pairs: (score, wrong, weight). None when one kind is missing."""
    pairs = sorted(pairs, key=lambda p: p[0])
    wrong = right = ranks = 0.0
    i = 0
    while i < len(pairs):
        wrong_here = right_here = 0.0
        j = i
        while j < len(pairs) and pairs[j][0] == pairs[i][0]:
            if pairs[j][1]:
                wrong_here += pairs[j][2]
            else:
                right_here += pairs[j][2]
            j += 1
        ranks += wrong_here * (right + 0.5 * right_here)
        wrong += wrong_here
        right += right_here
        i = j
    return ranks / (wrong * right) if wrong and right else None


def macro(rows, key, weights=None):
    cells = collections.defaultdict(list)
    for row in rows:
        weight = 1 if weights is None else weights.get(row["group"], 0)
        if weight:
            cells[row["cell"]].append((row[key], row["wrong"], weight))
    values = [v for v in map(auroc, cells.values()) if v is not None]
    return sum(values) / len(values)


def interval(rows, key, rounds, seed=1):
    groups = sorted({row["group"] for row in rows})
    rng = random.Random(seed)
    values = sorted(macro(rows, key, collections.Counter(rng.choices(groups, k=len(groups)))) for _ in range(rounds))
    return values[int(0.025 * rounds)], values[min(rounds - 1, int(0.975 * rounds))]


def calibration_error(rows, key):
    bins = collections.defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        b = bins[min(9, int(row[key] * 10))]
        b[0] += row[key]
        b[1] += row["wrong"]
    return sum(abs(p - w) for p, w in bins.values()) / len(rows)


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}")
    return done.stdout.decode()


def judge(args, train, test, folder):
    """Fits on `train`, returns rows of `test`."""
    files = {}
    for name, items in (("train", train), ("test", test)):
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(item) + "\n" for item in items))
    probe = folder / "out.probe"
    begin = time.time()
    print(run([args.hedge, "route", "probe", "train", "-m", args.model, "--data", str(files["train"]), "--out",
               str(probe), "-t", str(args.threads)]).strip(), file=sys.stderr)
    print(f"fitted in {time.time() - begin:.0f} s, {probe.stat().st_size} bytes", file=sys.stderr)
    lines = run([args.hedge, "route", "probe", "score", "-m", args.model, "--probe", str(probe), "--data",
                 str(files["test"]), "-t", str(args.threads), "--json"]).splitlines()
    rows = []
    for item, line in zip(test, lines, strict=True):
        row = json.loads(line)
        wrong = re.search(item["accept"].replace(r"\z", r"\Z"), row["answer"]) is None
        rows.append({"cell": item["cell"], "group": item["group"], "wrong": wrong, "p_wrong": row["p_wrong"],
                     "p_wrong_before": row["p_wrong_before"]})
    return rows


def report(rows, rounds, what):
    print(f"{what}: {len(rows)} answers, {100 * sum(r['wrong'] for r in rows) / len(rows):.0f} % wrong, "
          f"{len({r['cell'] for r in rows})} cells")
    for key in ("p_wrong", "p_wrong_before"):
        low, high = interval(rows, key, rounds)
        pooled = auroc([(r[key], r["wrong"], 1) for r in rows])
        print(f"  {key:15} AUROC within cells {macro(rows, key):.3f} ({low:.3f}-{high:.3f}), pooled {pooled:.3f}, "
              f"calibration error {calibration_error(rows, key):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hedge", required=True)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, help="this fold (or, with --unseen, this task) alone")
    parser.add_argument("--unseen", type=int, metavar="N", help="leave tasks out instead, all but N labels of each")
    parser.add_argument("--bootstrap", type=int, default=200, metavar="ROUNDS")
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("--rows", help="write what was scored here, JSON lines")
    args = parser.parse_args()
    items = [json.loads(line) for line in Path(args.data).read_text().splitlines() if line.strip()]
    for item in items:
        item["fold"] = int(hashlib.sha256(item["group"].encode()).hexdigest(), 16) % args.folds
        item["task"] = item["cell"].split("/")[-1]

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.unseen is None:
            for fold in range(args.folds):
                if args.only is None or args.only == fold:
                    rows += judge(args, [i for i in items if i["fold"] != fold],
                                  [i for i in items if i["fold"] == fold], folder)
        else:
            tasks = sorted({item["task"] for item in items})
            for index, task in enumerate(tasks):
                if args.only is not None and args.only != index:
                    continue
                own = [i for i in items if i["task"] == task]
                random.Random(1).shuffle(own)
                # Whole groups, until there are as many labels as asked for.
                groups, labels = set(), 0
                for item in own:
                    if labels < args.unseen and item["group"] not in groups:
                        groups.add(item["group"])
                        labels += sum(i["group"] == item["group"] for i in own)
                train = [i for i in items if i["task"] != task or i["group"] in groups]
                train_groups = {i["group"] for i in train}
                rows += judge(args, train, [i for i in own if i["group"] not in train_groups], folder)
    if args.rows:
        Path(args.rows).write_text("".join(json.dumps(row) + "\n" for row in rows))
    report(rows, args.bootstrap, "groups left out" if args.unseen is None else f"tasks with {args.unseen} labels")


if __name__ == "__main__":
    main()
