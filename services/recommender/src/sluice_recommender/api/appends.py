"""Waits for the event log on behalf of requests, so briefly that threads are left for those who ask.

A worker has few threads. Without this, those who send interactions would hold all of them, each for as long as an
append is tried while the log is away, and nobody who asks would be answered.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final

from sluice.errors import StorageUnavailable
from sluice_recommender.api.breaker import Breaker

PATIENT_S: Final = 1.0
HURRIED_S: Final = 0.2
"""So long those wait beyond the ``patient`` ones: they hold the last thread."""

Work = Callable[[], None]


class Appends:
    """Runs appends in threads of its own; a request that gives up leaves its append to go on there.

    While one goes on so, and while the log is away and somebody tries it, all others raise
    :class:`StorageUnavailable` at once, with nothing sent.
    """

    def __init__(self, patient: int) -> None:
        """``patient``: how many requests at once may wait for :data:`PATIENT_S`."""
        self._patient, self._breaker = threading.Semaphore(patient), Breaker()
        self._due: SimpleQueue[tuple[Future[None], Work]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._late: set[Future[None]] = set()

    def run(self, work: Work) -> None:
        """Return when ``work`` has; raises :class:`StorageUnavailable` if that takes long, and it may come to pass."""
        with self._breaker.passing():
            if self._late:
                raise StorageUnavailable("the event log has not answered an earlier request yet")
            self._wait(self._start(work))

    def _wait(self, done: "Future[None]") -> None:
        is_patient = self._patient.acquire(blocking=False)
        try:
            done.result(PATIENT_S if is_patient else HURRIED_S)
        except TimeoutError as error:
            self._late.add(done)
            done.add_done_callback(self._late.discard)
            raise StorageUnavailable(
                "the event log does not answer in time; it may have the records or not"
            ) from error
        finally:
            if is_patient:
                self._patient.release()

    def _start(self, work: Work) -> "Future[None]":
        """Hand ``work`` to a thread that is idle, else to a new one: as many as requests wait, and those given up."""
        done: Future[None] = Future()
        self._due.put((done, work))
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._serve, name="appends", daemon=True).start()
        return done

    def _serve(self) -> None:
        while True:
            done, work = self._due.get()
            try:
                work()
            except BaseException as error:
                outcome: BaseException | None = error
            else:
                outcome = None
            self._idle.release()  # before whoever waits goes on and has the next one
            if outcome is None:
                done.set_result(None)
            else:
                done.set_exception(outcome)
            del done, work, outcome
