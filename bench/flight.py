#!/usr/bin/env python3
"""What deciding in flight costs against deciding when the local answer is complete, and how early it decides.

  bench/flight.py --hedge build/release/hedge -m MODEL --data items.jsonl --work FOLDER

`hedge route calibrate --same-questions --rows` cuts the groups of questions into five parts. For each part a probe is
fitted on three of the others, thresholds are calibrated on the fourth for a row of targets, and both are held against the
part that is left out: nothing of its groups was seen by probe or thresholds. Deciding at the end means the same probe's
word on the whole answer, with a threshold from the same fourth part.

The upstream is taken to be always right. The share of the wrong answers that go up, against the share of all answers
that do, is a curve; APGR is the area under it. "Early" escalations are decided while less than a quarter of the local
answer's tokens was there to be handed on; "out" counts only what the client has: the first tokens are held back
(first_tokens). Intervals: 95 %, bootstrap over groups. FOLDER keeps what was made, so that a second run is quick.
Python's standard library only.
"""
import argparse
import collections
import json
import random
import subprocess
import sys
from pathlib import Path

TARGETS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
           0.95, 0.98]
PARTS = 5
WHOLE = 0  # the checkpoint of an answer that ended while it was held back


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stderr.decode()[-2000:]}")
    return done.stdout.decode()


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def read_thresholds(path):
    """Checkpoint to the probability above which an answer goes up, and the one below which it is handed on."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return {WHOLE if words[0] == "whole" else int(words[0]): (float(words[1]), float(words[2]))
            for words in lines if len(words) == 3 and (words[0] == "whole" or words[0].isdigit())}


def sent_at(thresholds, row):
    """Tokens at the checkpoint where it goes up, or None; and those at which it was handed on before, or None."""
    handed_on = None
    for tokens, p in row["moments"]:
        above, below = thresholds.get(tokens, (1, 0))
        if tokens == WHOLE and handed_on is not None:
            continue
        if p > above:
            return tokens, handed_on
        if p < below and handed_on is None:
            handed_on = tokens
    return None, handed_on


def end_threshold(rows, share):
    """Of the calibration answers, each group counting once, so many are above it."""
    sizes = collections.Counter(row["group"] for row in rows)
    left = share * len(sizes)
    for row in sorted(rows, key=lambda r: -r["p_wrong"]):
        left -= 1 / sizes[row["group"]]
        if left < 0:
            return row["p_wrong"]
    return 0


def write_rows(path, rows):
    keep = ("group", "wrong", "tokens", "moments")
    path.write_text('{"probe": "0"}\n' + "".join(json.dumps({k: row[k] for k in keep}) + "\n" for row in rows))


def calibrated(args, rows, goal, target, seed=1):
    """Checkpoint to threshold, by the program."""
    judged, out = args.work / "part.rows", args.work / "part.thresholds"
    write_rows(judged, rows)
    run([args.hedge, "route", "calibrate", "--judged", judged, goal, str(target), "--seed", str(seed), "--out", out])
    return read_thresholds(out)


def area(points):
    """Under the curve through the points (share, recovered) and its corners."""
    points = sorted([(0.0, 0.0), (1.0, 1.0), *points])
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:]))


def figures(rows, weights):
    """APGR in flight and at the end; share of early and of not-out escalations over all targets and at 0.3."""
    wrong = sum(w for row, w in zip(rows, weights) if row["wrong"])
    total = sum(weights)
    out = {}
    for way in ("flight", "end"):
        points = []
        for target in TARGETS:
            share = recovered = 0
            for row, w in zip(rows, weights):
                if row[way][target]:
                    share += w
                    recovered += w * row["wrong"]
            points.append((share / total, recovered / wrong))
        out[way] = area(points)
    early, hidden, sent = (collections.Counter() for _ in range(3))
    for row, w in zip(rows, weights):
        for target in TARGETS:
            if row["flight"][target]:
                sent[target] += w
                early[target] += w * row["early"][target]
                hidden[target] += w * row["hidden"][target]
    out["early"] = sum(early.values()) / sum(sent.values())
    out["hidden"] = sum(hidden.values()) / sum(sent.values())
    out["early at 0.3"] = early[0.3] / sent[0.3]
    out["hidden at 0.3"] = hidden[0.3] / sent[0.3]
    out["share at 0.3"] = sent[0.3] / total
    out["lost points"] = 100 * (out["end"] - out["flight"])
    return out


def promises(args, rows):
    """Random splits of the groups of one part: thresholds from one half, held against the other."""
    results = []
    for goal, target in (("--max-share", 0.3), ("--max-wrong", 0.2), ("--max-wrong", 0.1)):
        losses = []
        for split in range(args.splits):
            own = [row for row in rows if row["part"] == split % PARTS]
            groups = sorted({row["group"] for row in own})
            random.Random(split).shuffle(groups)
            half = set(groups[:len(groups) // 2])
            thresholds = calibrated(args, [row for row in own if row["group"] in half], goal, target, split)
            held_out = [row for row in own if row["group"] not in half]
            sizes = collections.Counter(row["group"] for row in held_out)
            loss = 0
            for row in held_out:
                sent = sent_at(thresholds, row)[0] is not None
                loss += (sent if goal == "--max-share" else row["wrong"] and not sent) / sizes[row["group"]]
            losses.append(loss / len(sizes))
        mean = sum(losses) / len(losses)
        error = (sum((x - mean) ** 2 for x in losses) / (len(losses) - 1) / len(losses)) ** 0.5
        results.append((goal, target, mean, error))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hedge", required=True)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bootstrap", type=int, default=200, metavar="ROUNDS")
    parser.add_argument("--splits", type=int, default=50, help="random splits that hold the promises against the rest")
    parser.add_argument("--held", type=int, default=6, help="tokens that are held back (first_tokens)")
    parser.add_argument("-t", "--threads", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.work / "all.rows"
    if not path.exists():
        run([args.hedge, "route", "calibrate", "-m", args.model, "--data", args.data, "--same-questions", "--max-share",
             "0.3", "--out", args.work / "all.thresholds", "--rows", path, "-t", str(args.threads)])
    all_rows = read_rows(path)

    rows = []
    for part in range(PARTS):
        calibration = [row for row in all_rows if row["fit"] == part and row["part"] != part]
        test = [row for row in all_rows if row["fit"] == part and row["part"] == part]
        thresholds = {target: calibrated(args, calibration, "--max-share", target) for target in TARGETS}
        ends = {target: end_threshold(calibration, target) for target in TARGETS}
        for row in test:
            at = {target: sent_at(thresholds[target], row) for target in TARGETS}
            row["flight"] = {target: tokens is not None for target, (tokens, _) in at.items()}
            row["end"] = {target: row["p_wrong"] > ends[target] for target in TARGETS}
            # The newest token waits for the decision.
            row["early"] = {target: tokens not in (None, WHOLE) and 4 * (tokens - 1) < row["tokens"]
                            for target, (tokens, _) in at.items()}
            row["hidden"] = {target: tokens is not None and (row["early"][target] or (tokens <= args.held and not out))
                             for target, (tokens, out) in at.items()}
        rows += test
        print(f"part {part}: {len(test)} answers", file=sys.stderr)

    best = figures(rows, [1] * len(rows))
    groups = sorted({row["group"] for row in rows})
    rng = random.Random(1)
    samples = []
    for _ in range(args.bootstrap):
        drawn = collections.Counter(rng.choices(groups, k=len(groups)))
        samples.append(figures(rows, [drawn[row["group"]] for row in rows]))
    wrong = sum(row["wrong"] for row in rows) / len(rows)
    print(f"{len(rows)} answers, {100 * wrong:.0f} % wrong, in {len(groups)} groups")
    for key, what in (("end", "APGR, decided at the end"), ("flight", "APGR, decided in flight"),
                      ("lost points", "points of APGR lost"),
                      ("early", "escalations decided before a quarter was there, all targets"),
                      ("early at 0.3", "the same at --max-share 0.3"),
                      ("hidden", "escalations decided before a quarter was out, all targets"),
                      ("hidden at 0.3", "the same at --max-share 0.3"),
                      ("share at 0.3", "share sent at --max-share 0.3")):
        values = sorted(sample[key] for sample in samples)
        low, high = values[int(0.025 * len(values))], values[int(0.975 * len(values))]
        print(f"  {what:62} {best[key]:.3f} ({low:.3f} to {high:.3f})")
    for goal, target, mean, error in promises(args, rows):
        print(f"  {goal} {target}: {mean:.3f} +- {error:.3f} on the other half, mean of {args.splits} splits by group")


if __name__ == "__main__":
    main()
