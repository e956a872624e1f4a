"""Replays a stream through the API: ask for the user's recommendations, then post what the user did.

Questions run ahead on a few connections; interactions are posted strictly in stream order, each after its
own question was answered, several at a time where several are due.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sluice.records import Interaction
from sluice_cli.demo.client import ApiFailed, Client, Recommendations
from sluice_cli.demo.record import Click

CONNECTIONS: Final = 4
AHEAD: Final = 16
PROBE_EVERY: Final = 150
SETTLED_S: Final = 0.05
PROBE_TIMEOUT_S: Final = 2.0


class Asked:
    """One interaction and the answer its user got just before it."""

    def __init__(self, interaction: Interaction, answer: Recommendations | None, took_ms: float) -> None:
        self.interaction, self.answer, self.took_ms = interaction, answer, took_ms


class Replayer:
    """Streams interactions; counts, latencies and clicks are read by another thread while it runs."""

    def __init__(
        self,
        client: Client,
        *,
        speed: float | None,
        titles: Mapping[str, str],
        probes: bool,
        stopped: Callable[[], bool],
    ) -> None:
        """``speed`` is events per second, None = as fast as they are taken; ``titles`` are for the eye.

        ``probes`` = measure freshness; of no use where answers are the same for everybody.
        """
        self._client, self._speed, self._titles, self._stopped = client, speed, titles, stopped
        self._probes = probes
        self.streamed = 0
        self.errors = 0
        self.latencies_ms: list[float] = []
        self.freshness_ms: list[float] = []
        self.clicks: list[Click] = []

    def run(self, interactions: Sequence[Interaction]) -> None:
        """Stream everything; returns early if stopped."""
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="replay") as pool:
            waiting: deque[Future[Asked]] = deque()
            for interaction in self._paced(interactions):
                waiting.append(pool.submit(self._ask, interaction))
                if len(waiting) >= AHEAD:
                    self._post(waiting)
            while waiting:
                self._post(waiting)

    def _paced(self, interactions: Sequence[Interaction]) -> Iterator[Interaction]:
        started = time.monotonic()
        for number, interaction in enumerate(interactions):
            if self._stopped():
                return
            if self._speed:
                time.sleep(max(0.0, started + number / self._speed - time.monotonic()))
            yield interaction

    def _ask(self, interaction: Interaction) -> Asked:
        started = time.perf_counter()
        try:
            answer = self._client.recommendations(interaction.user_id)
        except ApiFailed:
            self.errors += 1
            return Asked(interaction, None, 0.0)
        took_ms = 1000 * (time.perf_counter() - started)
        self.latencies_ms.append(took_ms)
        return Asked(interaction, answer, took_ms)

    def _post(self, waiting: deque[Future[Asked]]) -> None:
        """Post the interactions whose questions are answered, at least one."""
        due = [waiting.popleft().result()]
        probing = self._probes and self.streamed % PROBE_EVERY == PROBE_EVERY - 1
        room = PROBE_EVERY - 1 - self.streamed % PROBE_EVERY
        while waiting and waiting[0].done() and len(due) < room:
            due.append(waiting.popleft().result())
        if probing:
            self._probe(due[0].interaction)
        else:
            self._client.post_interactions([asked.interaction for asked in due])
        self.streamed += len(due)

    def _probe(self, clicked: Interaction) -> None:
        """Post one interaction and measure how long it takes until its user's answer shows it."""
        before = self._settled(clicked.user_id)
        self._client.post_interactions([clicked])
        posted = time.perf_counter()
        if before.strategy != "personalized" or before.snapshot is None:
            return
        after = self._changed(clicked, before, posted)
        if after is not None:
            self._note(clicked, before, after, 1000 * (time.perf_counter() - posted))

    def _changed(
        self, clicked: Interaction, before: Recommendations, posted: float
    ) -> Recommendations | None:
        """Return the answer whose top differs from ``before``, without the clicked item, or the last one asked.

        None if it cannot be said: another snapshot answers now, or the click moved scores but no item.
        """
        old = _without(before, clicked.item_id)
        while True:
            after = self._client.recommendations(clicked.user_id)
            new = _without(after, clicked.item_id)
            if after.snapshot != before.snapshot:
                return None
            if _ids(new)[: len(old)] != _ids(old)[: len(new)] or _late(posted):
                return after
            if new[: len(old)] != old[: len(new)]:
                return None

    def _settled(self, user_id: str) -> Recommendations:
        """Return the user's answer once it has not changed for a while: earlier clicks have arrived."""
        answer, since = self._client.recommendations(user_id), time.perf_counter()
        while time.perf_counter() - since < SETTLED_S:
            again = self._client.recommendations(user_id)
            if again.items != answer.items:
                answer, since = again, time.perf_counter()
        return answer

    def _note(
        self, clicked: Interaction, before: Recommendations, after: Recommendations, took_ms: float
    ) -> None:
        self.freshness_ms.append(took_ms)
        self.clicks.append(
            Click(
                user_id=clicked.user_id,
                clicked=self._titles.get(clicked.item_id, clicked.item_id),
                before=[item.title for item in before.items],
                after=[item.title for item in after.items],
                took_ms=took_ms,
            )
        )


def _without(answer: Recommendations, item_id: str) -> list[tuple[str, float]]:
    """Return what is recommended, with scores, except for the clicked item, whose exclusion does not count."""
    return [(item.item_id, round(item.score, 6)) for item in answer.items if item.item_id != item_id]


def _ids(scored: list[tuple[str, float]]) -> list[str]:
    return [item_id for item_id, _ in scored]


def _late(posted: float) -> bool:
    return time.perf_counter() - posted >= PROBE_TIMEOUT_S
