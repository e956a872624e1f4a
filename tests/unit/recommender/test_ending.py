"""At the end evidence is written before answers, and neither waits for a log that is away."""

import threading
import time

import pytest

from sluice import models
from sluice.embedded.log import EmbeddedLog
from sluice.loops import Loop
from sluice.records import Answer
from sluice_recommender.api import ending, worker
from sluice_recommender.api.ending import Last
from sluice_recommender.api.tally import TallyWriter
from sluice_recommender.settings import ApiSettings

MODEL = b"""
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec:
  algorithm: {type: CoVisitation}
  source: {name: shop}
"""


@pytest.fixture
def stuck():
    """What never comes while the test runs."""
    event = threading.Event()
    yield event
    event.set()


def started(work) -> Last:
    last = Last(Loop("writes", 0.001, work), work)
    last.loop.start()
    return last


def test_last_words_are_said_at_once_and_those_that_hang_are_left(stuck):
    said, in_round = [], threading.Event()

    def hang() -> None:
        in_round.set()
        stuck.wait(30.0)

    lasts = [started(hang), Last(Loop("quick", 60.0, lambda: None), lambda: said.append("quick"))]
    assert in_round.wait(10.0)
    begun = time.monotonic()
    ending.ask([each.loop for each in lasts])
    ending.finish(lasts, 0.3)
    assert said == ["quick"]
    assert time.monotonic() - begun < 3.0


def test_all_loops_are_asked_to_end_before_one_is_waited_for(stuck):
    rounds = []
    hanging = started(lambda: stuck.wait(30.0))
    other = started(lambda: rounds.append(1))
    ending.ask([hanging.loop, other.loop])
    other.loop.stop()
    done = len(rounds)
    ending.finish([hanging], 0.1)
    assert len(rounds) == done


def test_a_worker_writes_evidence_first_and_leaves_a_log_that_hangs(stuck, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(worker, "ANSWERS_END_S", 0.3)
    monkeypatch.setattr(TallyWriter, "flush", lambda writer: written.append("evidence"))

    def hang(log, topic, records) -> None:
        written.append("answers")
        stuck.wait(30.0)

    monkeypatch.setattr(EmbeddedLog, "append", hang)
    api = worker.ApiWorker(
        ApiSettings(home=str(tmp_path), faiss_stable_urls="http://localhost:1"),
        [models.parse(MODEL, "home.yaml")],
    )
    api._outbox.put(Answer(request_id="r", user_id="u", model="m", snapshot="s", items=(), ts=0))
    begun = time.monotonic()
    api.stop()
    assert written == ["evidence", "answers"]
    assert time.monotonic() - begun < 3.0
