"""kill -9 of the server under load, again and again over one data directory: every turn whose client received the final
chunk (or the whole body) must be in its session afterwards.

HEDGE_E2E_KILLS sets the number of kills (20; 1000 for the full check), over SQLite and over PostgreSQL a half each. The time to
resume is that of reading a session's turns from a server that has just started, before any prompt is computed.
"""

import contextlib
import http.client
import os
import random
import tempfile
import threading
import time
import unittest

import harness
from harness import Server
from postgres import Postgres
from wire import ANSWER_LIMIT_S, Answer

KILLS = harness.count_from_environment("HEDGE_E2E_KILLS", 20)
CLIENTS = 4


class Talker(threading.Thread):
    """One client: turn after turn in a session of its own, until the server is gone."""

    def __init__(self, server, session, stream, acknowledged):
        super().__init__()
        self.server = server
        self.session = session
        self.stream = stream
        self.acknowledged = acknowledged  # [(question, answer)] of this session, in order
        self.first = threading.Event()  # an answer has begun or the thread has ended
        self.error = None

    def run(self):
        try:
            with contextlib.closing(self.server.client()) as client:
                while self.turn(client):
                    pass
        except (OSError, http.client.HTTPException):
            pass  # killed
        except AssertionError as error:
            self.error = error
        finally:
            self.first.set()

    def turn(self, client):
        question = f"Say a number. ({len(self.acknowledged)})"
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": 6, "temperature": 0,
                "hedge": {"session": self.session}}
        if self.stream:
            answer = client.stream("/v1/chat/completions", body)
            for _ in answer:
                self.first.set()
                # The trace comes in the last chunk, after which the turn counts as acknowledged, [DONE] or not.
                if answer.finish_reason and answer.hedge:
                    self.acknowledged.append((question, answer.content))
                    break
            answer.read_all()
            return answer.done
        self.first.set()
        answer = Answer.of_response(client.request("POST", "/v1/chat/completions", body))
        self.acknowledged.append((question, answer.content))
        return True


class Kills(unittest.TestCase):
    def check_kept(self, server, sessions):
        for session, acknowledged in sessions.items():
            if not acknowledged:
                continue
            turns = server.session(session)
            self.assertEqual(len(turns) % 2, 0, "half an exchange")
            kept = [(turns[i]["content"], turns[i + 1]["content"]) for i in range(0, len(turns), 2)]
            for pair in acknowledged:
                self.assertIn(pair, kept, f"session {session}: acknowledged and lost")

    def test_no_acknowledged_turn_is_lost(self):
        self.kill_and_check("", KILLS - KILLS // 2, 0.4)

    def test_nor_with_postgresql(self):
        with contextlib.closing(Postgres()) as postgres:
            self.kill_and_check(postgres.url, KILLS // 2, 1.5)  # a commit there takes longer

    def kill_and_check(self, store, kills, moment_s):
        model = harness.model(harness.SMOLLM2)
        resumed = []
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        sessions = {}
        with tempfile.TemporaryDirectory(prefix="hedge-kill-") as data_dir, self.subTest(seed=seed):
            config = os.path.join(data_dir, "hedge.toml")
            with open(config, "w") as file:
                file.write(f'[session]\nstore = "{store}"\n')
            for kill in range(kills):
                server = Server(model, "-c", "256", "--log-level", "warn", "--config", config, data_dir=data_dir)
                # What the last kill left, and at times all of it.
                recent = {s: a for s, a in sessions.items() if s.startswith(f"kill-{kill - 1}-")}
                self.check_kept(server, sessions if kill % 100 == 99 else recent)
                if known := [s for s, a in sessions.items() if a]:
                    resumed.append(self.time_to_resume(server, known[-1]))
                talkers = []
                for number in range(CLIENTS):
                    # Some sessions go on over the kill.
                    session = f"kill-{kill - kill % 3}-{number}"
                    talkers.append(Talker(server, session, number % 2 == 0, sessions.setdefault(session, [])))
                    talkers[-1].start()
                for talker in talkers:
                    self.assertTrue(talker.first.wait(ANSWER_LIMIT_S))
                # A moment anywhere in the next few answers; any outcome is a valid one.
                threading.Event().wait(chance.uniform(0, moment_s))
                server.kill()
                for talker in talkers:
                    talker.join(ANSWER_LIMIT_S)
                    self.assertFalse(talker.is_alive())
                    if talker.error:
                        raise talker.error
            with Server(model, "-c", "256", "--config", config, data_dir=data_dir) as server:
                self.check_kept(server, sessions)
        total = sum(len(acknowledged) for acknowledged in sessions.values())
        resumed.sort()
        print(f"{kills} kills, {total} acknowledged turns, none lost; sessions read in {resumed[len(resumed) // 2]:.1f} ms "
              f"(median), {resumed[len(resumed) * 99 // 100]:.1f} ms (99 %)")
        self.assertGreater(total, kills, "too few turns for the test to show anything")

    def time_to_resume(self, server, session):
        with contextlib.closing(server.client()) as client:
            client.request("GET", "/v1/models")  # the model is loaded, the connection open
            began = time.monotonic()
            self.assertEqual(client.request("GET", f"/v1/hedge/sessions/{session}").status, 200)
            return (time.monotonic() - began) * 1000


if __name__ == "__main__":
    harness.main()
