"""The openai Python SDK against the real server, where it is installed (`pip install openai`)."""

import unittest

import harness
from harness import Server

try:
    import openai
except ImportError:
    openai = None

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@unittest.skipUnless(openai, "the openai package is not installed")
class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(harness.model(harness.SMOLLM2), "-c", "512", "--alias", "smol", "--api-key", "key")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="key", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        with cls.server:
            pass

    def test_a_whole_answer(self):
        answer = self.client.chat.completions.create(model="smol", messages=MESSAGES, max_tokens=16, temperature=0)
        self.assertTrue(answer.choices[0].message.content)
        self.assertGreater(answer.usage.completion_tokens, 0)
        self.assertEqual(answer.model_extra["hedge"]["route"], "local")

    def test_a_stream(self):
        stream = self.client.chat.completions.create(model="smol", messages=MESSAGES, max_tokens=16, temperature=0,
                                                     stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertTrue(text)
        self.assertIn([c.choices[0].finish_reason for c in chunks if c.choices][-1], ("stop", "length"))
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_logprobs_choices_and_our_own_fields(self):
        answer = self.client.chat.completions.create(
            model="smol", messages=MESSAGES, max_tokens=4, n=2, logprobs=True, top_logprobs=2, seed=1,
            extra_body={"hedge": {"session": "sdk"}, "ignore_eos": True})
        self.assertEqual(len(answer.choices), 2)
        self.assertEqual(len(answer.choices[0].logprobs.content), 4)
        self.assertEqual(answer.model_extra["hedge"]["session"], "sdk")

    def test_completions_and_models(self):
        answer = self.client.completions.create(model="smol", prompt="The capital of France is", max_tokens=4,
                                                temperature=0)
        self.assertIn("Paris", answer.choices[0].text)
        self.assertEqual([m.id for m in self.client.models.list()], ["smol"])

    def test_errors_are_the_sdks_own(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model="smol", messages=MESSAGES, temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="absent", messages=MESSAGES)
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(base_url=self.server.url + "/v1", api_key="wrong", max_retries=0).models.list()


if __name__ == "__main__":
    harness.main()
