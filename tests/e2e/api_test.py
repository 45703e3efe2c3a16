"""The HTTP interface of one `hedge serve` over the real SmolLM2 file: what clients rely on, and what they get wrong."""

import contextlib
import json
import math
import re
import signal
import tempfile
import threading
import time
import unittest

import harness
from harness import Server
from wire import Answer, check_segments, messages_of

CAPITAL = "What is the capital of France?"
CONTEXT = 1024

# The model is sure of each next token of these by far more than float rounding can move it. Products of one row and of
# many add in another order, so an answer to a prompt that the model is unsure of may differ with what runs beside it and
# with how much of it was in the KV cache.
# (The smallest distance between the best and the second token is 1.4 nats; rounding moves 0.1 to 0.3.)
SURE = ["1, 2, 3, 4, 5, 6, 7, 8, 9,", "a, b, c, d, e, f, g, h, i,", "100, 101, 102, 103, 104, 105,",
        "2, 4, 6, 8, 10, 12, 14,", "5, 10, 15, 20, 25, 30, 35,", "20, 21, 22, 23, 24, 25,"]

_server = None


def setUpModule():
    global _server
    _server = Server(harness.model(harness.SMOLLM2), "-c", str(CONTEXT), "--alias", "smol")


def tearDownModule():
    if _server:
        with _server:  # checks that it ends cleanly
            pass


class Chat(unittest.TestCase):
    def ask_twice(self, prompt, **fields):
        """The second answer: from then on all but the last token of the prompt is in the KV cache each time."""
        _server.chat(prompt, **fields)
        return _server.chat(prompt, **fields)

    def test_a_whole_answer(self):
        answer = _server.chat(CAPITAL, max_tokens=24)
        self.assertGreater(len(answer.content), 10)
        body = answer.body
        self.assertEqual(body["object"], "chat.completion")
        self.assertEqual(body["model"], "smol")
        self.assertLess(abs(body["created"] - time.time()), 3600)
        self.assertEqual([c["index"] for c in body["choices"]], [0])
        self.assertEqual(body["choices"][0]["message"]["role"], "assistant")
        usage = answer.usage
        self.assertGreater(usage["prompt_tokens"], 5)
        self.assertGreater(usage["completion_tokens"], 1)
        self.assertLessEqual(usage["completion_tokens"], 24)
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        answer.check_whole()
        self.assertEqual(answer.hedge["route"], "local")
        self.assertEqual(answer.backends(), ["local"])
        self.assertEqual(answer.headers["x-hedge-decision"], answer.hedge["id"])

    def test_a_stream_says_the_same(self):
        whole = self.ask_twice(CAPITAL, max_tokens=24)
        stream = _server.chat(CAPITAL, max_tokens=24, stream=True, stream_options={"include_usage": True})
        stream.check_whole()
        self.assertEqual(stream.content, whole.content)
        self.assertEqual(stream.finish_reason, whole.finish_reason)
        self.assertEqual(stream.usage["completion_tokens"], whole.usage["completion_tokens"])
        self.assertEqual(stream.usage["prompt_tokens"], whole.usage["prompt_tokens"])
        self.assertEqual(stream.chunks[0]["choices"][0]["delta"].get("role"), "assistant")
        self.assertEqual({c["object"] for c in stream.chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({c["id"] for c in stream.chunks}), 1)
        self.assertEqual(stream.headers["x-hedge-decision"], stream.hedge["id"])
        self.assertIn("hedge", stream.chunks[-1], "the trace is in the last chunk")
        self.assertGreater(len(stream.pieces), 3, "the text comes as it is made")

    def test_a_stream_without_include_usage_has_none(self):
        stream = _server.chat(CAPITAL, max_tokens=4, stream=True).check_whole()
        self.assertIsNone(stream.usage)

    def test_max_tokens(self):
        for field in ("max_tokens", "max_completion_tokens"):
            answer = _server.chat("Count to one hundred.", **{field: 7, "ignore_eos": True})
            self.assertEqual(answer.usage["completion_tokens"], 7)
            self.assertEqual(answer.finish_reason, "length")

    def test_stop_strings_end_before_themselves(self):
        whole = self.ask_twice(CAPITAL, max_tokens=24).content
        stop = whole.split(" ")[3]
        for stream in (False, True):
            answer = _server.chat(CAPITAL, max_tokens=24, stop=[stop, "never said"], stream=stream)
            self.assertEqual(answer.content, whole[: whole.index(stop)])
            self.assertEqual(answer.finish_reason, "stop")
            answer.check_whole()

    def test_a_seed_repeats_an_answer(self):
        def ask(seed):
            return _server.chat("Tell me a story.", max_tokens=16, temperature=1.2, top_k=0, top_p=1, seed=seed).content

        ask(1)  # see ask_twice()
        first = ask(1)
        self.assertEqual(first, ask(1))
        self.assertTrue(any(ask(seed) != first for seed in (2, 3, 4)))

    def test_logprobs(self):
        for stream in (False, True):
            answer = _server.chat(CAPITAL, max_tokens=6, logprobs=True, top_logprobs=3, stream=stream)
            self.assertEqual(len(answer.logprobs), 6)
            for token in answer.logprobs:
                top = [t["logprob"] for t in token["top_logprobs"]]
                self.assertEqual(len(top), 3)
                self.assertEqual(top, sorted(top, reverse=True))
                self.assertLessEqual(sum(math.exp(p) for p in top), 1.0001)
                self.assertAlmostEqual(token["logprob"], top[0], places=4, msg="greedy takes the best")
            said = b"".join(bytes(token["bytes"]) for token in answer.logprobs)
            self.assertEqual(said.decode(), answer.content)

    def test_two_choices(self):
        response = _server.post("/v1/chat/completions", {
            "messages": messages_of("Tell me a story."), "max_tokens": 12, "n": 2, "temperature": 1.5, "seed": 7})
        self.assertEqual(response.status, 200, response.text)
        choices = response.json["choices"]
        self.assertEqual([c["index"] for c in choices], [0, 1])
        self.assertNotEqual(choices[0]["message"]["content"], choices[1]["message"]["content"])
        self.assertGreater(response.json["usage"]["completion_tokens"], 12)
        for choice in choices:
            check_segments(choice["hedge"], choice["message"]["content"])
        self.assertEqual(choices[0]["hedge"]["session"], choices[1]["hedge"]["session"])

    def test_an_answer_that_the_client_has_begun_is_continued(self):
        messages = [*messages_of(CAPITAL), {"role": "assistant", "content": "The capital of France is"}]
        answer = _server.chat(messages, max_tokens=4)
        self.assertTrue(answer.content.startswith(" Paris"), answer.content)
        turns = _server.session(answer.hedge["session"])
        self.assertEqual(turns[-1]["content"], "The capital of France is" + answer.content)

    def test_characters_are_never_split(self):
        # Emoji are several tokens each; the model goes on with the row.
        prompt = "\U0001f600\U0001f603\U0001f604\U0001f601" * 6
        body = {"prompt": prompt, "max_tokens": 32, "temperature": 0, "ignore_eos": True}
        whole = _server.post("/v1/completions", body)
        self.assertEqual(whole.status, 200, whole.text)
        text = whole.json["choices"][0]["text"]
        self.assertRegex(text, "[\U0001f300-\U0001faff]", "no emoji in the answer: the test shows nothing")
        with contextlib.closing(_server.client()) as client:
            stream = client.stream("/v1/completions", body).read_all().check_whole()
        self.assertEqual(stream.content, text)
        for piece in stream.pieces:
            piece.encode("utf-8")  # a lone surrogate, half of an escaped emoji, raises
        self.assertFalse(any("\ufffd" in piece for piece in stream.pieces[:-1]))


class Completions(unittest.TestCase):
    def test_prompts_of_every_form(self):
        prompt = "The capital of France is"
        ids = _server.post("/tokenize", {"content": prompt}).json["tokens"]
        texts = []
        for form in (prompt, ids, [prompt], [ids]):
            response = _server.post("/v1/completions", {"prompt": form, "max_tokens": 5, "temperature": 0})
            self.assertEqual(response.status, 200, response.text)
            texts.append(response.json["choices"][0]["text"])
        self.assertEqual(len(set(texts)), 1, texts)
        self.assertTrue(texts[0].startswith(" Paris"), texts[0])
        both = _server.post("/v1/completions", {"prompt": [prompt, "2 + 2 ="], "max_tokens": 5, "temperature": 0}).json
        self.assertEqual([c["index"] for c in both["choices"]], [0, 1])
        self.assertEqual(both["choices"][0]["text"], texts[0])
        echo = _server.post("/v1/completions", {"prompt": prompt, "max_tokens": 5, "temperature": 0, "echo": True}).json
        self.assertEqual(echo["choices"][0]["text"], prompt + texts[0])


class SmallEndpoints(unittest.TestCase):
    def test_models(self):
        models = _server.get("/v1/models").json
        self.assertEqual(models["object"], "list")
        self.assertEqual([m["id"] for m in models["data"]], ["smol"])
        self.assertEqual(_server.get("/v1/models/smol").json["id"], "smol")
        self.assertEqual(_server.get("/v1/models/other").status, 404)

    def test_text_survives_tokens(self):
        for text in ("Hello, world!", "  two spaces\n\nand lines\t.", "Grüße, naïve café, Ελλάδα, 日本語, עברית",
                     "\U0001f468‍\U0001f469‍\U0001f467 family", "1234567890 0.5e-3", "a" * 300, ""):
            tokens = _server.post("/tokenize", {"content": text, "parse_special": False}).json["tokens"]
            back = _server.post("/detokenize", {"tokens": tokens}).json["content"]
            self.assertEqual(back, text)
        pieces = _server.post("/tokenize", {"content": "Hi 日", "with_pieces": True}).json["tokens"]
        raw = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
        self.assertEqual(raw.decode(), "Hi 日")

    def test_the_template(self):
        prompt = _server.post("/apply-template", {"messages": messages_of("Hi")}).json["prompt"]
        self.assertIn("<|im_start|>user\nHi<|im_end|>", prompt)
        self.assertTrue(prompt.endswith("<|im_start|>assistant\n"), prompt)

    def test_health(self):
        self.assertEqual(_server.get("/health").json, {"status": "ok"})

    def test_speculation_is_counted(self):
        before = _server.metrics()
        body = {"prompt": "one two three four five six seven eight, " * 6, "max_tokens": 120, "temperature": 0}
        timings = _server.post("/v1/completions", body).json["timings"]
        after = _server.metrics()
        drafted = after["hedge_draft_tokens_total"] - before["hedge_draft_tokens_total"]
        accepted = after["hedge_draft_tokens_accepted_total"] - before["hedge_draft_tokens_accepted_total"]
        self.assertEqual(drafted, timings.get("draft_n", 0))
        self.assertEqual(accepted, timings.get("draft_n_accepted", 0))
        self.assertLessEqual(accepted, drafted)

    def test_metrics_count_what_happens(self):
        before = _server.metrics()
        answer = _server.chat("Hi", max_tokens=5, ignore_eos=True)
        after = _server.metrics()

        def grown(name):
            return after[name] - before.get(name, 0)

        self.assertEqual(grown("hedge_completion_tokens_total"), answer.usage["completion_tokens"])
        self.assertEqual(grown("hedge_engine_requests_total"), 1)
        self.assertEqual(grown('hedge_router_answers_total{route="local"}'), 1)
        self.assertEqual(grown('hedge_http_requests_total{route="/v1/chat/completions",status="200"}'), 1)
        self.assertGreater(after["hedge_process_resident_bytes"], 1e6)

    def test_the_trace_can_be_read_later(self):
        answer = _server.chat(CAPITAL, max_tokens=5)
        stored = _server.get("/v1/hedge/decisions/" + answer.hedge["id"]).json
        for key, value in answer.hedge.items():
            self.assertEqual(stored[key], value, key)
        self.assertIsInstance(stored["steps"], list)
        self.assertEqual(_server.get("/v1/hedge/decisions/hd-0000000000000000").status, 404)


class Sessions(unittest.TestCase):
    def test_turns_are_kept_and_the_prefix_is_reused(self):
        messages = messages_of("My favourite colour is green. What is the capital of France?")
        first = _server.chat(messages, max_tokens=16, hedge={"session": "api-test.1"})
        self.assertEqual(first.hedge["session"], "api-test.1")
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "And of Italy?"}]
        second = _server.chat(messages, max_tokens=16, hedge={"session": "api-test.1"})
        cached = second.usage["prompt_tokens_details"]["cached_tokens"]
        # All of the first turn but its end, where the template goes on in another way.
        self.assertGreater(cached, first.usage["prompt_tokens"] - 8)
        self.assertLess(cached, second.usage["prompt_tokens"])
        turns = _server.session("api-test.1")
        self.assertEqual([(t["role"], t["content"]) for t in turns],
                         [(m["role"], m["content"]) for m in messages] + [("assistant", second.content)])
        self.assertEqual(turns[1]["segments"], first.hedge["segments"])

    def test_the_header_names_a_session_too(self):
        body = {"messages": messages_of("Hi"), "max_tokens": 4}
        answer = _server.post("/v1/chat/completions", body, {"x-hedge-session": "api-test.2"}).json
        self.assertEqual(answer["hedge"]["session"], "api-test.2")

    def test_a_conversation_finds_its_session_by_itself(self):
        messages = messages_of("Name a river. " + str(time.time_ns()))
        first = _server.chat(messages, max_tokens=8)
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "Another."}]
        second = _server.chat(messages, max_tokens=8, stream=True)
        self.assertEqual(second.hedge["session"], first.hedge["session"])
        self.assertEqual(len(_server.session(first.hedge["session"])), 4)

    def test_an_unknown_session(self):
        response = _server.get("/v1/hedge/sessions/never-seen")
        self.assertEqual(response.status, 404)
        self.assertIn("error", response.json)

    def test_concurrent_turns_of_one_session_are_all_kept(self):
        def ask(index):
            return _server.chat(f"Say {index}.", max_tokens=6, hedge={"session": "api-test.3"}).content

        answers = harness.in_parallel(4, ask)
        turns = _server.session("api-test.3")
        pairs = {(turns[i]["content"], turns[i + 1]["content"]) for i in range(0, len(turns), 2)}
        self.assertEqual(pairs, {(f"Say {i}.", answer) for i, answer in enumerate(answers)})


# Body, the field that the error names, and where it is not 400 the status.
MESSAGES = messages_of("Hi")
BAD_CHATS = [
    ({}, "messages", 400),
    ({"messages": "Hi"}, "messages", 400),
    ({"messages": []}, "messages", 400),
    ({"messages": [7]}, "messages[0]", 400),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role", 400),
    ({"messages": [{"role": "pilot", "content": "Hi"}]}, "messages[0].role", 400),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", 400),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", 400),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", 400),
    ({"messages": MESSAGES, "model": 7}, "model", 400),
    ({"messages": MESSAGES, "model": "gpt-x"}, "model", 404),
    ({"messages": MESSAGES, "temperature": "hot"}, "temperature", 400),
    ({"messages": MESSAGES, "temperature": -1}, "temperature", 400),
    ({"messages": MESSAGES, "top_p": 1.5}, "top_p", 400),
    ({"messages": MESSAGES, "top_k": 1.5}, "top_k", 400),
    ({"messages": MESSAGES, "min_p": []}, "min_p", 400),
    ({"messages": MESSAGES, "max_tokens": "many"}, "max_tokens", 400),
    ({"messages": MESSAGES, "max_tokens": 0}, "max_tokens", 400),
    ({"messages": MESSAGES, "max_tokens": 1.5}, "max_tokens", 400),
    ({"messages": MESSAGES, "max_completion_tokens": -7}, "max_completion_tokens", 400),
    ({"messages": MESSAGES, "seed": "x"}, "seed", 400),
    ({"messages": MESSAGES, "stop": 7}, "stop", 400),
    ({"messages": MESSAGES, "stop": ["a", 7]}, "stop[1]", 400),
    ({"messages": MESSAGES, "stream": "yes"}, "stream", 400),
    ({"messages": MESSAGES, "stream_options": 1}, "stream_options", 400),
    ({"messages": MESSAGES, "n": 0}, "n", 400),
    ({"messages": MESSAGES, "n": 10**6}, "n", 400),
    ({"messages": MESSAGES, "logprobs": "yes"}, "logprobs", 400),
    ({"messages": MESSAGES, "logprobs": True, "top_logprobs": 1000}, "top_logprobs", 400),
    ({"messages": MESSAGES, "ignore_eos": 1}, "ignore_eos", 400),
    ({"messages": MESSAGES, "repeat_penalty": "x"}, "repeat_penalty", 400),
    ({"messages": MESSAGES, "hedge": "local"}, "hedge", 400),
    ({"messages": MESSAGES, "hedge": {"route": "sideways"}}, "hedge.route", 400),
    ({"messages": MESSAGES, "hedge": {"session": 7}}, "hedge.session", 400),
    ({"messages": MESSAGES, "hedge": {"session": "no spaces"}}, "hedge.session", 400),
    ({"messages": MESSAGES, "hedge": {"session": "x" * 129}}, "hedge.session", 400),
    ({"messages": MESSAGES, "hedge": {"private": "yes"}}, "hedge.private", 400),
    ({"messages": MESSAGES, "hedge": {"escalate_after": -1}}, "hedge.escalate_after", 400),
    ({"messages": MESSAGES, "hedge": {"escalate_after": "soon"}}, "hedge.escalate_after", 400),
    ({"messages": MESSAGES, "hedge": {"privat": True}}, "hedge.privat", 400),
    ({"messages": MESSAGES, "response_format": {"type": "json_object"}}, "response_format", 400),
]


class BadRequests(unittest.TestCase):
    def check_error(self, response, status, param=None):
        self.assertEqual(response.status, status, response.text)
        self.assertEqual(response.headers["content-type"].split(";")[0], "application/json")
        error = response.json["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(error["message"])
        if param is not None:
            self.assertEqual(error["param"], param, error)
        return error

    def test_a_field_of_the_wrong_form_is_named(self):
        for body, param, status in BAD_CHATS:
            for stream in ({}, {"stream": True}):
                if "stream" in body and stream:
                    continue
                with self.subTest(param=param, **stream):
                    self.check_error(_server.post("/v1/chat/completions", {**body, **stream}), status, param)

    def test_bad_completions(self):
        for body, param in (({}, "prompt"), ({"prompt": 7}, "prompt"), ({"prompt": []}, "prompt"),
                            ({"prompt": ["a", None]}, "prompt[1]"), ({"prompt": [10**9]}, "prompt"),
                            ({"prompt": [-1]}, None), ({"prompt": "a", "logprobs": "x"}, "logprobs")):
            with self.subTest(body=body):
                self.check_error(_server.post("/v1/completions", body), 400, param)

    def test_bad_small_requests(self):
        for path, body, param in (("/tokenize", {}, "content"), ("/tokenize", {"content": 7}, "content"),
                                  ("/detokenize", {"tokens": "x"}, "tokens"),
                                  ("/detokenize", {"tokens": [10**8]}, "tokens[0]"),
                                  ("/apply-template", {"messages": 7}, "messages")):
            with self.subTest(path=path, body=body):
                self.check_error(_server.post(path, body), 400, param)

    def test_what_is_no_json_object(self):
        for body in ("", "{", "[]", "null", '"text"', "7", "{'a': 1}", "{\"a\": 1} x", '{"messages": [}', "[" * 5000,
                     b"\xff\xfe{}", b'{"messages": [{"role": "user", "content": "\xff"}]}', b"\0" * 10):
            with self.subTest(body=body[:40]):
                self.check_error(_server.post("/v1/chat/completions", body), 400)

    def test_a_prompt_that_is_too_long(self):
        prompt = "word " * (CONTEXT + 200)
        rendered = _server.post("/apply-template", {"messages": messages_of(prompt)}).json["prompt"]
        length = len(_server.post("/tokenize", {"content": rendered}).json["tokens"])
        for stream in (False, True):
            error = self.check_error(
                _server.post("/v1/chat/completions", {"messages": messages_of(prompt), "stream": stream}), 400)
            self.assertEqual(error["code"], "context_length_exceeded")
            numbers = {int(n) for n in re.findall(r"\d+", error["message"])}
            self.assertTrue({length, CONTEXT} <= numbers, f"{error['message']}: expected {length} and {CONTEXT}")

    def test_unknown_paths_and_methods(self):
        self.check_error(_server.get("/v1/nothing"), 404)
        self.check_error(_server.get("/v1/chat/completions"), 405)
        self.check_error(_server.post("/v1/models", {}), 405)

    def test_a_body_that_is_too_large(self):
        response = _server.post("/v1/chat/completions", b'{"x": "' + b"a" * (9 << 20) + b'"}')
        self.check_error(response, 413)

    def test_the_server_is_as_well_as_before(self):
        self.assertEqual(_server.get("/health").status, 200)
        self.assertTrue(_server.running())


class Concurrency(unittest.TestCase):
    def test_answers_at_once_equal_those_alone(self):
        def ask(index):
            body = {"prompt": SURE[index], "max_tokens": 16, "temperature": 0, "ignore_eos": True}
            if index % 2 == 0:
                return Answer.of_response(_server.post("/v1/completions", body)).check_whole().content
            with contextlib.closing(_server.client()) as client:
                return client.stream("/v1/completions", body).read_all().check_whole().content

        alone = [ask(i) for i in range(len(SURE))]
        self.assertEqual(len(set(alone)), len(SURE), "the same text twice: a mix-up would not show")
        self.assertTrue(alone[0].startswith(" 10, 11, 12"), alone[0])
        for _ in range(3):
            self.assertEqual(harness.in_parallel(len(SURE), ask), alone)

    def test_one_connection_serves_many_requests(self):
        with contextlib.closing(_server.client()) as client:
            for _ in range(3):
                self.assertEqual(client.request("GET", "/health").status, 200)
                body = {"messages": MESSAGES, "max_tokens": 2}
                self.assertEqual(client.request("POST", "/v1/chat/completions", body).status, 200)
                client.stream("/v1/chat/completions", body).read_all().check_whole()


class OneSlot(unittest.TestCase):
    """A server with a single slot and a queue of one: who holds the slot, and when it is free, shows at once."""

    LONG = {"messages": messages_of("Write a long story."), "max_tokens": 900, "ignore_eos": True}

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write("[model]\nslots = 1\nqueue_max = 1\n")
            config.flush()
            cls.server = Server(harness.model(harness.SMOLLM2), "--config", config.name, "-c", str(CONTEXT))

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            pass

    def wait_idle(self):
        def idle():
            metrics = self.server.metrics()
            return metrics["hedge_engine_active"] == 0 and metrics["hedge_engine_queued"] == 0

        harness.wait_until(idle, what="an idle engine")

    def check_freed(self, leave):
        """`leave` abandons a long answer in its middle: the slot must be free long before it would have ended."""
        self.wait_idle()
        before = self.server.metrics()
        client = self.server.client()
        stream = client.stream("/v1/chat/completions", self.LONG)
        stream.read_pieces(3)
        leave(client)
        self.wait_idle()
        after = self.server.metrics()
        made = after["hedge_completion_tokens_total"] - before["hedge_completion_tokens_total"]
        self.assertLess(made, 300, "the engine went on for a client that had gone")
        cancelled = after["hedge_engine_requests_cancelled_total"] - before["hedge_engine_requests_cancelled_total"]
        self.assertEqual(cancelled, 1)

    def test_a_client_that_closes_frees_the_slot(self):
        self.check_freed(lambda client: client.close())

    def test_a_client_that_resets_frees_the_slot(self):
        self.check_freed(lambda client: client.abort())

    def test_a_client_that_leaves_before_the_answer_frees_the_slot(self):
        self.wait_idle()
        before = self.server.metrics()["hedge_engine_requests_cancelled_total"]
        client = self.server.client()
        body = json.dumps(self.LONG)
        client.connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        harness.wait_until(lambda: self.server.metrics()["hedge_engine_active"] == 1, what="the request's start")
        client.abort()
        self.wait_idle()
        self.assertEqual(self.server.metrics()["hedge_engine_requests_cancelled_total"], before + 1)

    def test_what_the_client_saw_of_a_cancelled_answer_is_kept(self):
        client = self.server.client()
        stream = client.stream("/v1/chat/completions", {**self.LONG, "hedge": {"session": "gone"}})
        seen = stream.read_pieces(5).content
        client.close()

        def turns():
            response = self.server.get("/v1/hedge/sessions/gone")
            return response.json["turns"] if response.status == 200 else None

        turns = harness.wait_until(turns, what="the partial turn")
        self.assertTrue(turns[1]["content"].startswith(seen), turns)
        decision = self.server.get("/v1/hedge/decisions/" + turns[1]["decision"]).json
        self.assertIn("cancelled", decision["reasons"])

    def test_a_flood_is_refused_and_the_rest_is_answered(self):
        self.wait_idle()
        statuses = []
        lock = threading.Lock()

        def ask(_):
            response = self.server.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 60,
                                                                 "ignore_eos": True})
            with lock:
                statuses.append(response.status)
            if response.status == 429:
                self.assertGreaterEqual(int(response.headers["retry-after"]), 1)
                self.assertEqual(set(response.json["error"]), {"message", "type", "param", "code"})
            else:
                self.assertEqual(response.json["usage"]["completion_tokens"], 60)

        harness.in_parallel(12, ask)
        self.assertEqual(set(statuses), {200, 429}, statuses)
        self.assertGreaterEqual(statuses.count(200), 2, "the slot and the queue hold two")
        self.wait_idle()
        self.assertEqual(self.server.chat("Hi", max_tokens=2).headers["content-type"].split(";")[0], "application/json")


class Keys(unittest.TestCase):
    def test_an_api_key_is_asked_for(self):
        with Server(harness.model(harness.SMOLLM2), "-c", "256", "--api-key", "sesame") as server:
            body = {"messages": MESSAGES, "max_tokens": 2}
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame2"}):
                response = server.post("/v1/chat/completions", body, headers)
                self.assertEqual(response.status, 401)
                self.assertIn("error", response.json)
                self.assertNotIn("sesame", response.text)
            right = {"Authorization": "Bearer sesame"}
            self.assertEqual(server.post("/v1/chat/completions", body, right).status, 200)
            self.assertEqual(server.get("/v1/hedge/sessions/x").status, 401)
            self.assertEqual(server.get("/health").status, 200, "for load balancers")
            self.assertNotIn("sesame", server.output())


class Stopping(unittest.TestCase):
    def test_sigterm_lets_a_running_answer_end(self):
        with tempfile.TemporaryDirectory(prefix="hedge-e2e-") as folder:
            config = f"{folder}/hedge.toml"
            with open(config, "w", encoding="utf-8") as file:
                file.write("[server]\nstop_grace_ms = 60000\n")
            server = Server(harness.model(harness.SMOLLM2), "--config", config)
            client = server.client()
            stream = client.stream("/v1/chat/completions", {"messages": messages_of("Tell a story."), "max_tokens": 60,
                                                            "ignore_eos": True})
            stream.read_pieces(2)
            server.process.send_signal(signal.SIGTERM)
            answer = stream.read_all().check_whole()
            self.assertEqual(answer.finish_reason, "length")
            client.close()
            server.stop()  # a repeated SIGTERM changes nothing; the status is 0


if __name__ == "__main__":
    harness.main()
