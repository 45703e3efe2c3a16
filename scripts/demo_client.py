#!/usr/bin/env python3
"""The client of scripts/demo: asks the device five things and shows, as the answers stream in, who writes what and why.

Nothing here decides anything: each outcome comes from the rules of the server. When one is not what its case is to show, that
is said, and the exit status is 1. Standard library only.
"""

import argparse
import http.client
import json
import os
import signal
import sys
import textwrap
import urllib.parse

TERMINAL = sys.stdout.isatty()
COLOURS = {"local": "\033[32m", "upstream": "\033[36m"}
RESET, BOLD, DIM = "\033[0m", "\033[1m", "\033[2m"
TIMEOUT_S = 120
KILL_AFTER_PIECES = 8  # of the upstream's text in case 5


def styled(style, text):
    return f"{style}{text}{RESET}" if TERMINAL else text


class Answer:
    """One streamed answer: its text, the hedge object of its last chunk, and its decision."""

    def __init__(self):
        self.text = ""
        self.hedge = {}
        self.writer = ""


class Device:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    def get(self, path):
        connection = self.connect()
        connection.request("GET", path)
        response = connection.getresponse()
        body = json.load(response)
        connection.close()
        return body

    def ask(self, body, on_writer, on_text):
        """Streams one answer. on_writer(backend, reason) is called when another backend begins to write."""
        connection = self.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {response.read().decode()}")
        answer = Answer()
        for line in response:
            line = line.decode().strip()
            if line.startswith(": hedge "):  # a comment of the stream; other clients skip it
                notice = json.loads(line[len(": hedge "):])
                answer.writer = notice["backend"]
                on_writer(answer, notice.get("reason", ""))
            elif line.startswith("data: ") and line != "data: [DONE]":
                chunk = json.loads(line[len("data: "):])
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                answer.hedge = chunk.get("hedge", answer.hedge)
                for choice in chunk.get("choices", []):
                    piece = choice["delta"].get("content") or ""
                    answer.text += piece
                    if piece:
                        on_text(answer, piece)
        connection.close()
        return answer


class Show:
    """Prints an answer as it comes: in colour on a terminal, with marks otherwise."""

    def __init__(self):
        self.open = ""

    def writer(self, answer, _reason):
        self.open = ""

    def text(self, answer, piece):
        kind = "local" if answer.writer == "local" else "upstream"
        if self.open != answer.writer:
            self.open = answer.writer
            mark = f"[{answer.writer}]"
            sys.stdout.write(styled(DIM, mark) if TERMINAL else mark)
        sys.stdout.write(styled(COLOURS[kind], piece))
        sys.stdout.flush()


def segments_of(answer):
    return [s["backend"] for s in answer.hedge.get("segments", [])]


def explain(device, answer):
    """Prints who wrote how much, and the steps of the decision trace that led to it."""
    hedge = answer.hedge
    size = len(answer.text.encode())
    wrote = ", then ".join(f"{s['backend']} {s['bytes']} bytes" for s in hedge["segments"]) or "nobody"
    print(f"\n  who      {wrote}  (together {sum(s['bytes'] for s in hedge['segments'])}; the answer has {size})")
    print(f"  route    {hedge['route']}; reasons: {', '.join(hedge['reasons']) or 'none'}")
    for step in device.get("/v1/hedge/decisions/" + hedge["id"])["steps"]:
        measured = f"  {step['value']:.3f} held against {step['threshold']:.3f}" if step["threshold"] else ""
        detail = f"  {step['detail']}" if step["detail"] else ""
        print(f"  {step['at_ms']:>5} ms  {step['what']}{detail}{measured}")


def cases(upstream):
    """(title, what it shows, bodies of requests, whether the segments and reasons are what it is to show)

    The rules decide, on the tokens of this machine's own rounding: where a prompt turns out otherwise, the next is asked.
    """
    user = lambda text: [{"role": "user", "content": text}]
    return [
        ("1. Answered locally", "The small model is sure of its tokens, so nothing leaves the device.",
         [{"messages": user(text)} for text in (
             "What is the chemical symbol for gold?", "What is the capital of France?")],
         lambda who, why: who == ["local"]),
        ("2. Escalated before the first token", "Its first tokens, held back and judged, are too unsure.",
         [{"messages": user(text)} for text in (
             "Recommend a film for tonight.", "Invent twenty names for new planets.", "Write a nonsense poem.")],
         lambda who, why: who == [upstream] and any(r in ("confidence.first", "confidence.probe") for r in why)),
        ("3. Escalated in mid-answer", "It begins well and becomes unsure; the upstream continues at the end of a word.",
         [{"messages": user(text)} for text in (
             "Tell me about the birds of Tristan da Cunha.", "List twenty book titles by unknown authors.",
             "Write a biography of the chess player Vera Nebolsina.", "Explain the etymology of the word quixotry.",
             "Write a list of brand names for a new soap.")],
         lambda who, why: who == ["local", upstream] and any(r.startswith("confidence.") for r in why)),
        ("4. Kept home by the privacy gate", "It asks for the upstream, but holds an e-mail address: it stays.",
         [{"messages": user("Write a short greeting to jane.doe@example.com."), "hedge": {"route": "upstream"}}],
         lambda who, why: who == ["local"] and "gate.personal_data" in why),
        ("5. The upstream is killed in mid-answer (kill -9)",
         "The request forces the switch after 16 tokens; then its process dies, and the answer is finished locally from where "
         "the stream stands.",
         [{"messages": user("List the months of the year and say something about each."), "hedge": {"escalate_after": 16}}],
         lambda who, why: who == ["local", upstream, "local"] and "upstream.failed" in why and "local.resumed" in why),
    ]


LAST_WORDS = """
Both models are tiny, and often wrong: what was shown is who answers, and why. Three lines put in a stronger local model
and a real cloud endpoint (any OpenAI-compatible one; the key stays in the environment):

  hedge pull hf:OWNER/REPO/FILE.gguf
  export CLOUD_KEY=...
  hedge serve -m FILE --upstream https://api.example.com --upstream-model NAME --upstream-key-env CLOUD_KEY

Talk to {it} as to any OpenAI-compatible server:
{start}
  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "smollm2", "messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI                                     # pip install openai
  client = OpenAI(base_url="{url}/v1", api_key="none")
  print(client.chat.completions.create(model="smollm2", messages=[{{"role": "user", "content": "Hello"}}]))

  import OpenAI from "openai";                                  // npm install openai
  const client = new OpenAI({{ baseURL: "{url}/v1", apiKey: "none" }});
  console.log(await client.chat.completions.create({{ model: "smollm2", messages: [{{ role: "user", content: "Hello" }}] }}));
"""


def run_case(device, request, upstream_name, kill):
    """Asks and shows one request; the process `kill`, if one is given, dies after some pieces of the upstream's text."""
    print(f"  prompt   {request['messages'][-1]['content']}")
    if "hedge" in request:
        print(f"  asks for {json.dumps(request['hedge'])}")
    print()
    show = Show()
    pieces = {}  # by writer

    def on_text(answer, piece):
        show.text(answer, piece)
        pieces[answer.writer] = pieces.get(answer.writer, 0) + 1
        if kill and answer.writer == upstream_name and pieces[answer.writer] == KILL_AFTER_PIECES:
            os.kill(kill, signal.SIGKILL)
            sys.stdout.write(styled(BOLD, "<kill -9>"))

    body = {"model": "smollm2", "temperature": 0, "max_tokens": 120, **request}
    answer = device.ask(body, show.writer, on_text)
    print()
    explain(device, answer)
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True, help="URL of the device's server")
    parser.add_argument("--upstream-name", required=True)
    parser.add_argument("--upstream-pid", type=int, required=True, help="killed in the last case")
    parser.add_argument("--kept", action="store_true", help="the device goes on running after the demonstration")
    options = parser.parse_args()
    device = Device(options.device)

    missed = []
    for number, (title, meaning, requests, shows) in enumerate(cases(options.upstream_name), 1):
        print(f"\n{styled(BOLD, title)}\n{textwrap.fill(meaning, 110)}")
        kill = options.upstream_pid if number == 5 else None
        for left, request in zip(range(len(requests) - 1, -1, -1), requests):
            answer = run_case(device, request, options.upstream_name, kill)
            if shows(segments_of(answer), answer.hedge.get("reasons", [])):
                break
            print(styled(BOLD, "  This is not what the case is to show: the rules decided otherwise on this machine."
                         + (" Another prompt:" if left else "")))
        else:
            missed.append(title)

    if options.kept:
        print(LAST_WORDS.format(it="the device, which goes on running,", start="", url=options.device))
    else:
        print(LAST_WORDS.format(it="a device of your own", start="\n  build/release/hedge serve -m smollm2-135m-instruct --alias smollm2\n",
                                url="http://127.0.0.1:8080"))
    if missed:
        print("Not shown: " + "; ".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
