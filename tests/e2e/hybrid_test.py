"""Two real `hedge serve` processes: SmolLM2 on the device, Gemma upstream, and a relay between them that keeps every byte
that leaves the device."""

import contextlib
import json
import os
import ssl
import subprocess
import tempfile
import unittest

import harness
from harness import Server
from relay import RecordingProxy
from wire import ANSWER_LIMIT_S

UPSTREAM = "gemma"

CONFIG = """
[upstream]
name = "gemma"
base_url = "{url}"
{more}
model = "gemma"
breaker_failures = 3
breaker_open_ms = 60000
[policy.confidence]
enabled = {confidence}
"""


def start_pair(confidence="false", tls=None, more="", tail="", environment=None):
    """(upstream, relay, device); `tls` for the relay, `more` lines for [upstream], `tail` more tables"""
    small, large = harness.model(harness.SMOLLM2), harness.model(harness.GEMMA)
    with contextlib.ExitStack() as undo:
        upstream = Server(large, "-c", "512", "--alias", "gemma", threads=1)
        undo.callback(upstream.kill)
        relay = RecordingProxy(upstream.port, tls)
        undo.callback(relay.close)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(url=relay.url, confidence=confidence, more=more) + tail)
            config.flush()
            device = Server(small, "-c", "512", "--alias", "smol", "--config", config.name, threads=1,
                            environment=environment)
        undo.pop_all()
    return upstream, relay, device


class Hybrid(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.upstream, cls.relay, cls.device = start_pair()

    @classmethod
    def tearDownClass(cls):
        with cls.upstream, cls.device:
            pass
        cls.relay.close()

    def upstream_requests(self):
        return self.upstream.metrics()["hedge_engine_requests_total"]

    @contextlib.contextmanager
    def kept_home(self, *secrets):
        """Nothing may reach the upstream in this block."""
        requests = self.upstream_requests()
        sent = len(self.relay.sent())
        yield
        self.assertEqual(self.upstream_requests(), requests)
        self.assertEqual(self.relay.sent()[sent:].count(b"POST "), 0)
        for secret in secrets:
            self.assertNotIn(secret.encode(), self.relay.sent())

    def test_local(self):
        with self.kept_home("capital of France"):
            answer = self.device.chat("What is the capital of France?", max_tokens=12, hedge={"route": "local"})
        answer.check_whole()
        self.assertEqual(answer.hedge["route"], "local")
        self.assertEqual(answer.backends(), ["local"])
        self.assertTrue(answer.hedge["reasons"])

    def test_upstream(self):
        requests = self.upstream_requests()
        for stream in (False, True):
            answer = self.device.chat("What is the capital of Italy?", max_tokens=12, stream=stream,
                                      hedge={"route": "upstream"}).check_whole()
            self.assertEqual(answer.hedge["route"], "upstream")
            self.assertEqual(answer.backends(), [UPSTREAM])
        self.assertEqual(self.upstream_requests(), requests + 2)
        self.assertIn(b"capital of Italy", self.relay.sent())

    def test_the_upstream_by_its_name(self):
        answer = self.device.chat("What is the capital of Spain?", max_tokens=8, model="gemma").check_whole()
        self.assertEqual(answer.backends(), [UPSTREAM])
        self.assertEqual({m["id"] for m in self.device.get("/v1/models").json["data"]}, {"smol", "gemma"})

    def test_escalated_in_mid_answer_at_the_end_of_a_word(self):
        for after in (1, 4, 7):
            with self.subTest(after=after):
                answer = self.device.chat("Why is the sky blue?", max_tokens=40, ignore_eos=True, stream=True,
                                          hedge={"escalate_after": after, "session": f"mid-{after}"}).check_whole()
                self.assertEqual(answer.hedge["route"], "mixed")
                self.assertEqual(answer.backends(), ["local", UPSTREAM])
                (_, local), (_, rest) = answer.parts()
                self.assertTrue(local and rest)
                self.assertFalse(local[-1].isalnum() and rest[0].isalnum(), f"inside a word: {local!r} | {rest!r}")
                turns = self.device.session(f"mid-{after}")
                self.assertEqual(turns[-1]["content"], answer.content)
                self.assertEqual(turns[-1]["segments"], answer.hedge["segments"])
                # The upstream was sent the text that stood, as the start of the assistant's turn.
                self.assertTrue(self.was_sent(local))

    def was_sent(self, text):
        """Whether `text` has left the device as part of some JSON string, escaped in either way."""
        sent = self.relay.sent()
        return any(json.dumps(text, ensure_ascii=ascii)[1:-1].encode() in sent for ascii in (False, True))

    def test_escalated_before_the_first_token(self):
        answer = self.device.chat("Name a colour.", max_tokens=8, hedge={"escalate_after": 0}).check_whole()
        self.assertEqual(answer.backends(), [UPSTREAM])

    def test_after_an_upstream_turn_only_the_unseen_is_prefilled(self):
        messages = [{"role": "user", "content": "Tell me about rivers, mountains and the sea. " * 4}]
        first = self.device.chat(messages, max_tokens=12, hedge={"route": "local", "session": "reuse"})
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "More."}]
        second = self.device.chat(messages, max_tokens=12, hedge={"route": "upstream", "session": "reuse"})
        self.assertEqual(second.backends(), [UPSTREAM])
        messages += [{"role": "assistant", "content": second.content}, {"role": "user", "content": "And more."}]
        third = self.device.chat(messages, max_tokens=4, hedge={"route": "local", "session": "reuse"})
        cached = third.usage["prompt_tokens_details"]["cached_tokens"]
        self.assertGreaterEqual(cached, first.usage["prompt_tokens"] - 8)
        self.assertEqual(len(self.device.session("reuse")), 6)

    def test_coming_home_after_many_turns_prefills_the_unseen_alone(self):
        """What the local model has read and written before is not read again, to 1 % of the prompt's tokens."""
        def tokens(messages):
            text = self.device.post("/apply-template", {"messages": messages}).json["prompt"]
            return self.device.post("/tokenize", {"content": text, "parse_special": True}).json["tokens"]

        for away in (1, 3):
            with self.subTest(turns_upstream=away):
                messages = [{"role": "user", "content": f"Tell me {away} things about rivers and the sea. " * 8}]
                first = self.device.chat(messages, max_tokens=16, hedge={"route": "local"})
                self.assertEqual(first.backends(), ["local"])
                seen = first.usage["prompt_tokens"]
                for turn in range(away):
                    messages.append({"role": "assistant", "content": first.content if turn == 0 else answer.content})
                    messages.append({"role": "user", "content": f"Go on, part {turn}."})
                    answer = self.device.chat(messages, max_tokens=12, hedge={"route": "upstream"})
                    self.assertEqual(answer.backends(), [UPSTREAM])
                messages.append({"role": "assistant", "content": answer.content})
                messages.append({"role": "user", "content": "And home again."})
                home = self.device.chat(messages, max_tokens=4, hedge={"route": "local"})
                self.assertEqual(home.backends(), ["local"])
                cached = home.usage["prompt_tokens_details"]["cached_tokens"]
                total = home.usage["prompt_tokens"]
                # Read with the first prompt, or written by the local model itself: all that both conversations share.
                begun = tokens([messages[0], {"role": "assistant", "content": first.content}])
                whole = tokens(messages)
                shared = next((i for i, (a, b) in enumerate(zip(begun, whole)) if a != b), min(len(begun), len(whole)))
                self.assertGreaterEqual(shared, seen)
                print(f"{away} turns away: {total} tokens, {shared} known, {cached} taken over, {total - cached} read")
                self.assertLessEqual(abs(cached - shared), max(2, total * 0.01))

    def test_a_private_session_never_leaves(self):
        secret = "My neighbour keeps bees in Zanzibar."
        with self.kept_home("Zanzibar"):
            first = self.device.chat(secret, max_tokens=8, hedge={"private": True, "route": "upstream"})
            self.assertEqual(first.backends(), ["local"])
            self.assertTrue(any("private" in reason for reason in first.hedge["reasons"]), first.hedge)
            messages = [{"role": "user", "content": secret}, {"role": "assistant", "content": first.content},
                        {"role": "user", "content": "Where are they?"}]
            # Unmarked from here on: by its id, by its history, and under another id.
            edited = [messages[0], {"role": "assistant", "content": "Bees?"}, messages[2]]
            for sent, hedge in ((messages, {"session": first.hedge["session"]}), (messages, {}),
                                (messages, {"session": "elsewhere"}), (edited, {})):
                for force in ({"route": "upstream"}, {"escalate_after": 2}):
                    with self.subTest(hedge, edited=sent is edited, **force):
                        answer = self.device.chat(sent, max_tokens=8, ignore_eos=True, hedge={**hedge, **force})
                        self.assertEqual(answer.backends(), ["local"])
            by_name = self.device.chat(messages, max_tokens=8, model="gemma")
            self.assertEqual(by_name.backends(), ["local"])

    def test_personal_data_never_leaves(self):
        for secret in ("jane.roe@example.org", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 30 901820",
                       "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"):
            with self.subTest(secret), self.kept_home(secret):
                for force in ({"route": "upstream"}, {"escalate_after": 2}):
                    answer = self.device.chat(f"Repeat this: {secret}", max_tokens=8, ignore_eos=True, hedge=force)
                    self.assertEqual(answer.backends(), ["local"])
                    self.assertTrue(any("personal" in reason for reason in answer.hedge["reasons"]), answer.hedge)


class Masked(unittest.TestCase):
    def test_values_stay_and_come_back(self):
        """`[privacy] email_address = "mask"`: the request leaves, the address does not, from the start and in mid-answer."""
        upstream, relay, device = start_pair(tail='[privacy]\nemail_address = "mask"\n')
        secret, placeholder = "jane.roe@example.org", "EMAIL_ADDRESS_1"
        messages = [{"role": "system", "content": f"You answer for {secret}."},
                    {"role": "user", "content": f"Repeat this word for word: {secret} {secret} {secret}"}]
        with upstream, device, contextlib.closing(relay):
            for stream in (False, True):
                for force in ({"route": "upstream"}, {"escalate_after": 3}):
                    with self.subTest(stream=stream, **force):
                        answer = device.chat(messages, max_tokens=40, ignore_eos=True, temperature=0, stream=stream,
                                             hedge=force).check_whole()
                        self.assertIn(UPSTREAM, answer.backends())
                        self.assertNotIn(placeholder, answer.content)
                        steps = device.get("/v1/hedge/decisions/" + answer.hedge["id"]).json["steps"]
                        masked = [step for step in steps if step["what"] == "gate.masked"]
                        self.assertEqual([step["detail"] for step in masked], ["EMAIL_ADDRESS 1"])
            self.assertNotIn(b"jane", relay.sent())
            self.assertIn(f"You answer for <{placeholder}>.".encode(), relay.sent())


class UpstreamDies(unittest.TestCase):
    def test_in_mid_answer(self):
        """kill -9 of the upstream while it writes: the client's stream goes on and ends as it should."""
        upstream, relay, device = start_pair()
        with device, contextlib.closing(relay):
            with contextlib.closing(device.client()) as client:
                relay.hold_after(2)
                stream = client.stream("/v1/chat/completions", {
                    "messages": [{"role": "user", "content": "Write a long story about the sea."}], "temperature": 0,
                    "max_tokens": 60, "ignore_eos": True, "hedge": {"escalate_after": 4, "session": "killed"}})
                try:
                    self.assertTrue(relay.held.wait(ANSWER_LIMIT_S), "the upstream wrote nothing")
                finally:
                    upstream.kill()
                answer = stream.read_all().check_whole()
            self.assertEqual(answer.backends(), ["local", UPSTREAM, "local"])
            self.assertEqual(answer.hedge["route"], "mixed")
            self.assertTrue(any("upstream" in reason for reason in answer.hedge["reasons"]), answer.hedge)
            (_, first), (_, second), (_, third) = answer.parts()
            self.assertTrue(first and second and third)
            turns = device.session("killed")
            self.assertEqual(turns[-1]["content"], answer.content)
            # With the upstream gone, the next ones are answered at once all the same.
            for force in ({"route": "upstream"}, {"escalate_after": 2}, {}):
                after = device.chat("Say hello.", max_tokens=8, hedge=force).check_whole()
                self.assertEqual(after.backends(), ["local"])


class Tls(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.certificate = os.path.join(folder.name, "cert.pem")
        key = os.path.join(folder.name, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=relay", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
                        "-out", self.certificate], check=True, capture_output=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate, key)

    def ask(self, more):
        upstream, relay, device = start_pair(tls=self.tls, more=more)
        with upstream, device, contextlib.closing(relay):
            answer = device.chat("What is the capital of Italy?", max_tokens=8, hedge={"route": "upstream"}).check_whole()
            return answer, device.get("/v1/hedge/decisions/" + answer.hedge["id"]).json, relay.sent()

    def test_an_authority_that_the_configuration_names(self):
        answer, _, sent = self.ask(f'ca_file = "{self.certificate}"')
        self.assertEqual(answer.backends(), [UPSTREAM])
        self.assertIn(b"capital of Italy", sent)

    def test_a_certificate_that_nobody_vouches_for(self):
        answer, decision, sent = self.ask("")
        self.assertEqual(answer.backends(), ["local"])
        self.assertIn("certificate", json.dumps(decision))
        self.assertEqual(sent, b"")


class Unsure(unittest.TestCase):
    def test_the_confidence_rule_hands_over_by_itself(self):
        upstream, relay, device = start_pair(confidence="true\nprobe = \"off\"\nfirst_margin_min = 1.0\nfirst_margin_quantile = 0.0")
        with upstream, device, contextlib.closing(relay):
            answer = device.chat("Write a poem about the moon.", max_tokens=12, stream=True).check_whole()
            self.assertEqual(answer.backends(), [UPSTREAM])
            self.assertTrue(any("confidence" in reason for reason in answer.hedge["reasons"]), answer.hedge)
            kept = device.chat("Write to jane.roe@example.org.", max_tokens=12).check_whole()
            self.assertEqual(kept.backends(), ["local"])


POLICIES = """
[[policy.rules]]
name = "drafts"
when = {tag = "draft"}
use = "local-only"
[[policy.rules]]
name = "hurry"
when = {all = [{tag = "hurry"}, {not = {tools = true}}]}
use = "race"
[[policy.rules]]
name = "worth it"
when = {tag = "worth"}
use = "cheapest-sufficient"
value_per_answer = 100.0
[tenants.office]
key_env = "OFFICE_KEY"
[tenants.poor]
key_env = "POOR_KEY"
upstream_tokens_per_day = 1
"""


class Policies(unittest.TestCase):
    paid = 0.0

    @classmethod
    def setUpClass(cls):
        cls.upstream, cls.relay, cls.device = start_pair(
            more="price_in = 1.0\nprice_out = 4.0", tail=POLICIES,
            environment={"OFFICE_KEY": "office-key", "POOR_KEY": "poor-key"})

    @classmethod
    def tearDownClass(cls):
        with cls.upstream, cls.device:
            pass
        cls.relay.close()

    def ask(self, tag, key="office-key", **hedge):
        body = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 8,
                "hedge": {"tags": [tag], **hedge}}
        answer = self.device.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
        self.assertEqual(answer.status, 200, answer.body)
        trace = self.device.get("/v1/hedge/decisions/" + answer.json["hedge"]["id"],
                                {"Authorization": f"Bearer {key}"}).json
        self.paid += trace["upstream_cost"]
        return trace, {step["what"]: step for step in trace["steps"]}

    def test_rules_strategies_and_tenants(self):
        trace, steps = self.ask("draft", route="upstream")
        self.assertEqual((trace["route"], trace["reasons"]), ("local", ["gate.policy_local"]))
        self.assertEqual(steps["policy.rule"]["detail"], "drafts: local-only")
        self.assertEqual(trace["tenant"], "office")

        trace, steps = self.ask("worth")
        self.assertEqual((trace["route"], trace["reasons"]), ("upstream", ["formula.net"]))
        terms = ("gain", "bias", "money", "latency", "energy", "switch")
        self.assertAlmostEqual(sum(steps["formula." + term]["value"] for term in terms),
                               steps["formula.net"]["value"], places=9)
        self.assertGreater(trace["facts"]["local_decode_tps"], 0)

        # What a user thinks of it is learned, once per answer, and can be wiped.
        path = f"/v1/hedge/decisions/{trace['id']}/feedback"
        key = {"Authorization": "Bearer office-key"}
        for _ in range(2):
            self.assertEqual(self.device.post(path, {"signal": "thumbs_up"}, key).status, 200)
        with open(os.path.join(self.device.data_dir, "feedback.jsonl"), encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 1)
        self.assertEqual(self.device.post(path, {"signal": "like"}, key).status, 400)
        self.assertEqual(self.device.post("/v1/hedge/decisions/hd-0/feedback", {"signal": "edit"}, key).status, 404)
        _, out, _, _ = harness.run("route", "learned", "export", "--data-dir", self.device.data_dir)
        self.assertEqual(out, "hedge learned 1\nother, short\t0.5\t1\n")
        _, steps = self.ask("worth")
        self.assertGreater(steps["formula.bias"]["value"], 0)
        harness.run("route", "learned", "wipe", "--data-dir", self.device.data_dir)
        _, out, _, _ = harness.run("route", "learned", "show", "--data-dir", self.device.data_dir)
        self.assertIn("nothing has been learned", out)

        trace, steps = self.ask("hurry")
        self.assertIn("race.won", steps)

        trace, _ = self.ask("worth", key="poor-key")
        self.assertEqual((trace["route"], trace["reasons"]), ("local", ["gate.over_budget"]))

        status = self.device.get("/v1/hedge/status", {"Authorization": "Bearer poor-key"}).json
        self.assertEqual([(b["tenant"], b["tokens_max"]) for b in status["budgets"]], [("poor", 1)])
        _, frame, _, _ = harness.run("top", "--once", "--url", self.device.url, "--key", "office-key")
        self.assertIn("office", frame)
        self.assertNotIn("poor", frame)

        self.assertEqual(self.device.post("/v1/chat/completions", {"messages": []}).status, 401)

        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write("[policy]\nuse = \"local-only\"\n")
            config.flush()
            status, out, err, _ = harness.run("route", "replay", "--config", config.name, "--json",
                                              "--data-dir", self.device.data_dir)
            self.assertEqual(status, 0, err)
            replay = json.loads(out)
            self.assertEqual(replay["decisions"], 5)
            self.assertAlmostEqual(replay["recorded"]["money"] + replay["left_out_money"], self.paid, places=9)
            self.assertGreater(self.paid, 0)
            self.assertEqual(replay["replayed"]["local"], 5)
            self.assertEqual(replay["replayed"]["tokens"], 0)
            self.assertGreaterEqual(replay["changed"], 1)
            status, out, err, _ = harness.run("route", "explain", "Hello", "--config", config.name, "--assume-upstream",
                                              "--json", "--data-dir", self.device.data_dir)
            self.assertEqual(status, 0, err)
            explained = json.loads(out)
            self.assertEqual(explained["gate"], "gate.policy_local")
            self.assertTrue(explained["speeds_recorded"])


if __name__ == "__main__":
    harness.main()
