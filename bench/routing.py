#!/usr/bin/env python3
"""How well the prompt score ranks prompts, by RouteLLM's method, on RouteLLM's own files.

  bench/routing.py --data DATA [--hedge build/release/hedge] [--draws 10]      the protocol, printed as a table
  bench/routing.py --data DATA --make-assets src/route/assets                  the table of topics and the weights
                                                                              that the program carries

DATA holds routing/routellm (lm-sys/RouteLLM, routellm/evals) and routing/llmrouter (ulab-uiuc/LLMRouter, train.json).
Standard library only. Everything random has a fixed seed, and the settings are the program's defaults.

Protocol
  1,500 labels   that many lines drawn at random, the rest judged; mean over the draws
  5 folds        each line judged by weights that were learned from the other four folds
  GSM8K          learned from MMLU and LLMRouter without any question of GSM8K
Both slices of MMLU are printed: all 14,037 prompts, and the 12,872 without high_school_mathematics (GPT-4's answers
there look misread: 3 % right) and moral_scenarios (one template).
The program's table of topics was made from MMLU's prompts and subjects, without any outcome. So three tables are
compared: that one ("topics"); one from a random half of the prompts, judged on the other half ("unseen"); none.
"""
import argparse, csv, glob, json, os, random, re, subprocess, sys, tempfile

FAULTY = ("high_school_mathematics", "moral_scenarios")
LABELS = 1500
SEED = 20240701
csv.field_size_limit(1 << 27)


def read_rows(path, group, contaminated):
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            if row[0] != "prompt" and row[0] not in contaminated:
                yield {"prompt": row[0], "weak": float(row[1] == "True"), "strong": float(row[2] == "True"), "subject": group}


def contaminated_of(path):
    with open(path, encoding="utf-8") as file:
        return {json.loads(line)["eval_prompt"] for line in file if line.strip()}


def load(data):
    root = os.path.join(data, "routing", "routellm")
    bad = contaminated_of(os.path.join(root, "mmlu", "contaminated_prompts.jsonl"))
    mmlu = []
    for path in sorted(glob.glob(os.path.join(root, "mmlu", "mmlu_*.csv"))):
        mmlu += read_rows(path, os.path.basename(path)[5:-4], bad)
    bad = contaminated_of(os.path.join(root, "gsm8k", "contaminated_prompts.jsonl"))
    with open(os.path.join(root, "gsm8k", "gsm8k_responses.csv"), newline="", encoding="utf-8") as file:
        all_gsm = [row[0] for row in csv.reader(file)]
    gsm = list(read_rows(os.path.join(root, "gsm8k", "gsm8k_responses.csv"), "gsm8k", bad))
    known = {plain(prompt)[:60] for prompt in all_gsm}
    llm = []
    with open(os.path.join(data, "routing", "llmrouter", "train.json"), encoding="utf-8") as file:
        for item in json.load(file):
            scores = item["scores"]
            weak, strong = scores.get("mistral-7b-instruct-v0.3"), scores.get("llama-3.1-nemotron-51b-instruct")
            if weak is None or strong is None or plain(item["question"])[:60] in known:
                continue
            llm.append({"prompt": item["question"], "weak": min(max(weak, 0), 1), "strong": min(max(strong, 0), 1)})
    return mmlu, gsm, llm


def plain(text):
    return re.sub(r"\W+", " ", text).strip().lower()


def write(path, rows, keys):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({name: row[key] for name, key in keys}) + "\n")


OUTCOME = (("prompt", "prompt"), ("weak", "weak"), ("strong", "strong"))
TOPIC = (("prompt", "prompt"), ("topic", "subject"))


class Bench:
    def __init__(self, hedge, folder):
        self.hedge, self.folder = hedge, folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments, stdin=None):
        done = subprocess.run([self.hedge, "route", *arguments], stdin=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"hedge route {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def scores(self, train, test, options=()):
        write(self.path("train.jsonl"), train, OUTCOME)
        write(self.path("test.jsonl"), test, OUTCOME)
        topics = [o for pair in zip(options, options[1:]) if pair[0] == "--topics" for o in pair]
        self.run("train", "--data", self.path("train.jsonl"), "--out", self.path("weights"), *options)
        with open(self.path("test.jsonl"), encoding="utf-8") as stdin:
            out = self.run("score", "--weights", self.path("weights"), *topics, stdin=stdin)
        return [float(line) for line in out.split()]


def figures(scores, rows, seed=SEED, draws=1000):
    """APGR, CPT(50), CPT(80), each with its 95 % interval; independent of the program's own `hedge route eval`."""
    rng = random.Random(seed)
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], rng.random()))
    weak = [rows[i]["weak"] for i in order]
    gain = [rows[i]["strong"] - rows[i]["weak"] for i in order]
    n = len(order)
    value = point(weak, gain)
    samples = [[], [], []]
    for _ in range(draws):
        drawn = sorted(rng.choices(range(n), k=n))
        one = point([weak[i] for i in drawn], [gain[i] for i in drawn])
        for k in range(3):
            samples[k].append(one[k])
    out = []
    for k in range(3):
        ranked = sorted(samples[k]) or [value[k]]
        out.append((value[k], ranked[int(0.025 * (len(ranked) - 1))], ranked[int(0.975 * (len(ranked) - 1))]))
    return out


def point(weak, gain):
    n = len(weak)
    sums = [0.0]
    for g in gain:
        sums.append(sums[-1] + g)
    low, total = 100 * sum(weak) / n, 100 * sums[-1] / n
    counts = [0] + [n - -(-j * (n - 1) // 10) for j in range(9, -1, -1)]
    x = [100 * c / n for c in counts]
    y = [low + 100 * sums[c] / n for c in counts]
    area = sum((x[i + 1] - x[i]) / 100 * (y[i] + y[i + 1]) / 2 for i in range(10))
    return (area - low) / total, crossing(low + 0.5 * total, x, y), crossing(low + 0.8 * total, x, y)


def crossing(target, x, y):
    """numpy.interp's binary search, for points that need not rise."""
    if target > y[-1]:
        return x[-1]
    low, high = 0, len(y)
    while low < high:
        middle = (low + high) // 2
        if target >= y[middle]:
            low = middle + 1
        else:
            high = middle
    if low == 0 or low >= len(y):
        return x[0] if low == 0 else x[-1]
    return x[low - 1] + (target - y[low - 1]) * (x[low] - x[low - 1]) / (y[low] - y[low - 1])


def show(name, rows):
    cells = "   ".join(f"{v:{f}} ({a:{f}} to {b:{f}})" for (v, a, b), f in zip(rows, (".3f", ".1f", ".1f")))
    print(f"{name:<44} {cells}", flush=True)


def mean_over_draws(bench, rows, draws, options=(), train_from=None):
    """`draws` times LABELS random lines; the interval is the mean of the draws' bootstrap intervals."""
    results = []
    for draw in range(draws):
        shuffled = (train_from or rows)[:]
        random.Random(SEED + draw).shuffle(shuffled)
        train = shuffled[:LABELS]
        test = shuffled[LABELS:]
        results.append(figures(bench.scores(train, test, options), test, draws=200))
    return [tuple(sum(r[k][j] for r in results) / draws for j in range(3)) for k in range(3)]


def five_folds(bench, rows, options=()):
    shuffled = rows[:]
    random.Random(SEED).shuffle(shuffled)
    scores, tests = [], []
    for fold in range(5):
        test = shuffled[fold::5]
        train = [row for i, row in enumerate(shuffled) if i % 5 != fold]
        scores += bench.scores(train, test, options)
        tests += test
    return figures(scores, tests)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with routing/routellm and routing/llmrouter")
    parser.add_argument("--hedge", default="build/release/hedge")
    parser.add_argument("--draws", type=int, default=10, help="of 1,500 labels (default 10)")
    parser.add_argument("--make-assets", metavar="FOLDER", help="write topics.bin and prompt_score.bin, and stop")
    arguments = parser.parse_args()
    mmlu, gsm, llm = load(arguments.data)
    clean = [row for row in mmlu if row["subject"] not in FAULTY]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.hedge, folder)
        if arguments.make_assets:
            write(bench.path("topics.jsonl"), mmlu, TOPIC)
            topics = os.path.join(arguments.make_assets, "topics.bin")
            print(bench.run("topics", "--data", bench.path("topics.jsonl"), "--out", topics).strip())
            write(bench.path("train.jsonl"), clean + llm, OUTCOME)
            weights = os.path.join(arguments.make_assets, "prompt_score.bin")
            print(bench.run("train", "--data", bench.path("train.jsonl"), "--topics", topics, "--out", weights).strip())
            return
        shuffled = mmlu[:]
        random.Random(SEED).shuffle(shuffled)
        seen, unseen = shuffled[: len(mmlu) // 2], shuffled[len(mmlu) // 2 :]
        unseen_clean = [row for row in unseen if row["subject"] not in FAULTY]
        write(bench.path("half.jsonl"), seen, TOPIC)
        bench.run("topics", "--data", bench.path("half.jsonl"), "--out", bench.path("half"))
        half = ("--topics", bench.path("half"))
        none = ("--topic-scale", "0")
        print(f"{'':<44} APGR                   CPT(50)               CPT(80)")
        show("MMLU, prompt length alone", figures([len(row["prompt"]) for row in mmlu], mmlu))
        show("MMLU cleaned, prompt length alone", figures([len(row["prompt"]) for row in clean], clean))
        show("GSM8K, prompt length alone", figures([len(row["prompt"]) for row in gsm], gsm))
        for name, options, whole, cleaned in (("topics", (), mmlu, clean), ("unseen", half, unseen, unseen_clean),
                                              ("none", none, mmlu, clean)):
            show(f"MMLU, 1,500 labels, {name}", mean_over_draws(bench, whole, arguments.draws, options))
            show(f"MMLU cleaned, 1,500 labels, {name}", mean_over_draws(bench, cleaned, arguments.draws, options))
            show(f"MMLU, 5 folds, {name}", five_folds(bench, whole, options))
            show(f"MMLU cleaned, 5 folds, {name}", five_folds(bench, cleaned, options))
        for name, train in (("MMLU and LLMRouter", mmlu + llm), ("MMLU", mmlu), ("LLMRouter", llm)):
            show(f"GSM8K from {name}", figures(bench.scores(train, gsm), gsm))


if __name__ == "__main__":
    main()
