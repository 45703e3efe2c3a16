#!/usr/bin/env python3
"""Measures speculation: the same requests to two servers, `--speculation auto` and `off`.

    copy      prompts whose answer repeats parts of them: code to change, JSON to complete, text to quote; greedy
    ordinary  prompts whose answer has nothing to copy; sampled at temperature 1, since greedy answers of small models soon
              repeat themselves
    loop      the same prompts, greedy

Every answer must be the same from both servers, with the same log-probabilities. The servers take turns, request by
request. A ratio is off's decoding time over auto's, of the medians of each prompt's rounds; their geometric mean and
extent are shown. With --clients N so many prompts run at once, the servers take turns scene by scene, and a ratio is of the
times until all have answered, of each round.

    bench/speculation.py -m model.gguf -t 2 -r 5
    bench/speculation.py -m model.gguf -t 2 -r 5 --clients 4
"""
import argparse
import concurrent.futures
import http.client
import json
import math
import statistics
import time

import common
import serving

CODE = '''def load_settings(path, defaults):
    """Reads the settings file at path; missing keys come from defaults."""
    settings = dict(defaults)
    with open(path) as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if "=" not in line:
                raise ValueError(f"{path}:{number}: expected key = value, got {line!r}")
            key, value = line.split("=", 1)
            key = key.strip()
            if key not in defaults:
                raise ValueError(f"{path}:{number}: unknown key {key!r}")
            settings[key] = type(defaults[key])(value.strip())
    return settings
'''
RECORDS = json.dumps([{"id": 1001 + i, "name": name, "department": department, "email": f"{name.lower()}@example.com",
                       "active": True} for i, (name, department) in enumerate(
                           [("Alice", "sales"), ("Bob", "support"), ("Carla", "research"), ("Dmitri", "sales"),
                            ("Erika", "support"), ("Farid", "research")])], indent=2)
TEXT = """The lighthouse at Cape Morran was built in 1874 from granite that was quarried on the island itself. Its first
keeper, Thomas Hale, lived there with his wife and three children until 1891, when the lamp was converted from oil to
paraffin. In 1923 a storm destroyed the landing stage, and for eleven weeks the keepers were supplied by a breeches buoy
from the mainland. The light was automated in 1986, and since 2002 the tower has been a museum that is open from May to
September. About nine thousand visitors climb its 147 steps every year."""

COPY = [
    f"Repeat this code exactly, but rename the variable settings to config:\n\n```python\n{CODE}```",
    f"Add a comment to this function and print the whole function again:\n\n```python\n{CODE}```",
    f"Print this JSON again with every \"active\" set to false:\n\n{RECORDS}",
    f"Repeat the following text word for word:\n\n{TEXT}",
    f"Quote every sentence of this text that has a number in it:\n\n{TEXT}",
]
ORDINARY = [
    "Write a short story about a fox who learns to swim.",
    "Explain how photosynthesis works to a ten-year-old.",
    "What should I consider before I adopt a dog?",
    "Describe the taste of a ripe mango to somebody who has never eaten one.",
    "Give me advice for my first job interview.",
    "Why is the sky blue and the sunset red?",
    "Write a letter to a friend about a rainy weekend in the mountains.",
    "What made the Roman roads last for such a long time?",
    "Compare living in a city with living in a village.",
    "How does a refrigerator keep food cold?",
]
SCENES = {"copy": (COPY, 0), "ordinary": (ORDINARY, 1), "loop": (ORDINARY, 0)}  # prompts, temperature
MODES = ("off", "auto")


def ask(server, prompt, temperature, arguments, logprobs=False):
    """The answer's first choice and its timings."""
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": arguments.generate,
            "temperature": temperature, "seed": 7, "ignore_eos": True, "hedge": {"route": "local"}}
    if logprobs:
        body |= {"logprobs": True, "top_logprobs": 2}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=serving.ANSWER_S)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status != 200:
        common.fail(f"{response.status} {text[:300]!r}")
    answer = json.loads(text)
    return answer["choices"][0], answer["timings"]


def expect_same(scene, prompt, answers):
    plain, drafted = (answers[mode][0] for mode in MODES)
    if plain != drafted:
        common.fail(f"{scene}: the answers to {prompt[:60]!r} differ:\n{plain}\n{drafted}")


def measure(arguments, servers, scene, prompt, temperature):
    """One prompt: decoding times by mode and round, and what was drafted in the last one."""
    expect_same(scene, prompt, {mode: ask(servers[mode], prompt, temperature, arguments, True) for mode in MODES})
    times = {mode: [] for mode in MODES}
    for i in range(arguments.rounds):
        answers = {mode: ask(servers[mode], prompt, temperature, arguments)
                   for mode in (MODES if i % 2 == 0 else MODES[::-1])}
        expect_same(scene, prompt, answers)
        for mode in MODES:
            times[mode].append(answers[mode][1]["predicted_ms"])
    timings = answers["auto"][1]
    return {"prompt": prompt[:40], "tokens": timings["predicted_n"], **times, "drafted": timings.get("draft_n", 0),
            "accepted": timings.get("draft_n_accepted", 0),
            "ratio": statistics.median(times["off"]) / statistics.median(times["auto"])}


def measure_together(arguments, servers, scene):
    """All prompts of a scene, `clients` at a time: seconds until all have answered by mode and round, and what was drafted."""
    prompts, temperature = SCENES[scene]

    def ask_all(mode):
        with concurrent.futures.ThreadPoolExecutor(arguments.clients) as clients:
            return list(clients.map(lambda prompt: ask(servers[mode], prompt, temperature, arguments), prompts))

    def expect_all_same(answers):
        for prompt, off, auto in zip(prompts, *(answers[mode] for mode in MODES)):
            expect_same(scene, prompt, {"off": off, "auto": auto})

    expect_all_same({mode: ask_all(mode) for mode in MODES})  # the prompts are known from here on
    times = {mode: [] for mode in MODES}
    for i in range(arguments.rounds):
        answers = {}
        for mode in MODES if i % 2 == 0 else MODES[::-1]:
            began = time.perf_counter()
            answers[mode] = ask_all(mode)
            times[mode].append(time.perf_counter() - began)
        expect_all_same(answers)
    timings = [answer[1] for answer in answers["auto"]]
    return {"prompts": len(prompts), "tokens": sum(t["predicted_n"] for t in timings), **times,
            "drafted": sum(t.get("draft_n", 0) for t in timings),
            "accepted": sum(t.get("draft_n_accepted", 0) for t in timings),
            "ratios": [off / auto for off, auto in zip(times["off"], times["auto"])]}


def show_together(name, scene, run):
    speed = {mode: run["tokens"] / statistics.median(run[mode]) for mode in MODES}
    return [name, scene, str(run["prompts"]), f"{speed['off']:.1f}", f"{speed['auto']:.1f}",
            f"{statistics.median(run['ratios']):.2f}", f"{min(run['ratios']):.2f} to {max(run['ratios']):.2f}",
            f"{100 * run['drafted'] / run['tokens']:.0f} %", f"{100 * run['accepted'] / run['tokens']:.0f} %"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_common(parser)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("-n", "--generate", type=int, default=128, help="tokens per answer")
    parser.add_argument("--scenes", default=",".join(SCENES), help="comma-separated, of " + ", ".join(SCENES))
    parser.add_argument("--clients", type=int, default=1, metavar="N", help="prompts that run at once (default 1)")
    arguments = parser.parse_args()
    common.check_common(arguments)
    if arguments.clients < 1:
        common.fail(f"--clients is {arguments.clients}, expected at least 1")
    for scene in arguments.scenes.split(","):
        if scene not in SCENES:
            common.fail(f"--scenes: expected some of {', '.join(SCENES)}, got {scene}")
    rows, results = [], []
    for model in arguments.model:
        name = common.model_name(model)
        with serving.Server(arguments, "hedge", model, arguments.clients, 2048, ("--speculation", "off")) as plain, \
                serving.Server(arguments, "hedge", model, arguments.clients, 2048,
                               ("--speculation", "auto")) as drafting:
            for scene in arguments.scenes.split(","):
                if arguments.clients > 1:
                    run = measure_together(arguments, {"off": plain, "auto": drafting}, scene)
                    common.note(f"{name} {scene}: {run}")
                    results.append({"model": name, "scene": scene, **run})
                    rows.append(show_together(name, scene, run))
                    continue
                runs = []
                prompts, temperature = SCENES[scene]
                for prompt in prompts:
                    runs.append(measure(arguments, {"off": plain, "auto": drafting}, scene, prompt, temperature))
                    common.note(f"{name} {scene}: {runs[-1]}")
                results.append({"model": name, "scene": scene, "prompts": runs})
                ratios = [run["ratio"] for run in runs]
                speed = {mode: sum(run["tokens"] for run in runs) * 1000 /
                         sum(statistics.median(run[mode]) for run in runs) for mode in MODES}
                tokens = sum(run["tokens"] for run in runs)
                rows.append([name, scene, str(len(runs)), f"{speed['off']:.1f}", f"{speed['auto']:.1f}",
                             f"{math.exp(statistics.fmean(map(math.log, ratios))):.2f}",
                             f"{min(ratios):.2f} to {max(ratios):.2f}",
                             f"{100 * sum(run['drafted'] for run in runs) / tokens:.0f} %",
                             f"{100 * sum(run['accepted'] for run in runs) / tokens:.0f} %"])
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "rounds": arguments.rounds, "clients": arguments.clients,
                          "results": results}, indent=2))
        return
    common.show_table(["model", "scene", "prompts", "off t/s", "auto t/s", "ratio", "least to greatest",
                       "drafted of answer", "accepted"], rows, arguments.markdown)


if __name__ == "__main__":
    main()
