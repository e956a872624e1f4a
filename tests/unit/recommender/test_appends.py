"""Requests wait briefly for the event log, and leave threads to those who ask."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice.errors import StorageUnavailable
from sluice_recommender.api import appends
from sluice_recommender.api.appends import Appends


class Log:
    """Takes records once ``answers`` is set; ``asked`` counts those that got so far."""

    def __init__(self) -> None:
        self.answers, self.asked, self.taken = threading.Event(), 0, 0
        self._lock = threading.Lock()

    def append(self) -> None:
        with self._lock:
            self.asked += 1
        assert self.answers.wait(10.0)
        with self._lock:
            self.taken += 1


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.answers.set()


def refusal(running: Appends, work: Callable[[], None]) -> tuple[float, str]:
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as told:
        running.run(work)
    return time.monotonic() - started, str(told.value)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_of_two_that_come_together_one_waits_a_second_and_the_other_soon_gives_up(log: Log) -> None:
    running = Appends(patient=1)
    with ThreadPoolExecutor(2) as threads:
        waits = sorted(each[0] for each in threads.map(lambda _: refusal(running, log.append), range(2)))
    assert appends.HURRIED_S <= waits[0] < appends.PATIENT_S <= waits[1] < 3.0


def test_while_one_is_late_others_are_refused_at_once_with_nothing_sent(log: Log) -> None:
    running = Appends(patient=1)
    refusal(running, log.append)
    waits = [refusal(running, log.append) for _ in range(20)]
    assert max(wait for wait, _ in waits) < appends.HURRIED_S
    assert {told for _, told in waits} == {"the event log has not answered an earlier request yet"}
    assert log.asked == 1


def test_when_the_late_one_is_there_requests_are_taken_again(log: Log) -> None:
    running = Appends(patient=1)
    refusal(running, log.append)
    log.answers.set()

    def is_taken() -> bool:
        try:
            running.run(log.append)
        except StorageUnavailable:
            return False
        return True

    until(is_taken)
    running.run(log.append)
    assert log.taken == log.asked == 3


def test_a_log_that_refuses_at_once_is_tried_at_every_request() -> None:
    running, tries = Appends(patient=0), []

    def refuse() -> None:
        tries.append(1)
        raise StorageUnavailable("disk full")

    assert {refusal(running, refuse)[1] for _ in range(3)} == {"disk full"}
    assert len(tries) == 3
    running.run(lambda: None)


def test_another_error_reaches_whoever_asked() -> None:
    def fail() -> None:
        raise ValueError("mine")

    running = Appends(patient=1)
    with pytest.raises(ValueError, match="mine"):
        running.run(fail)
    running.run(lambda: None)


def test_one_after_the_other_is_done_in_one_thread() -> None:
    running, names = Appends(patient=1), set[str | int]()
    for _ in range(50):
        running.run(lambda: names.add(threading.get_ident()))
    assert len(names) == 1
    assert threading.get_ident() not in names
