"""The consumer loop of ``sluice-recommender profiles``.

Per batch, in this order: 1. profiles, popularity, items and users, 2. attribution, 3. dead letters, 4. commit
of the positions. A crash in between repeats the batch, or a longer one that begins with it: profiles,
popularity and attribution know the offsets they have taken in, items are put as they were, dead letters know
the origins they have written. So every record counts once. A store that cannot answer keeps the batch
waiting: nothing is skipped, and nothing behind it is read.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.events import EventLog, Partition
from sluice.items import Items, Popularity
from sluice.profile import Profiles
from sluice.topics import Topics, profiles_group, topics_of
from sluice_recommender.profiles.batch import Batch, Rejected
from sluice_recommender.profiles.credit import EVIDENCE_S, Credit
from sluice_recommender.profiles.dead_letters import DeadLetters
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks, LogTime
from sluice_recommender.profiles.window import read_again

LIMIT: Final = 1_000
TIMEOUT_S: Final = 0.1
PAUSE_S: Final = 0.5
_log = structlog.get_logger()
_APPLIED = instruments.counter(metrics.EVENTS_APPLIED)
_REJECTED = instruments.counter(metrics.EVENTS_REJECTED)
_REPEATED = instruments.counter(metrics.EVENTS_REPEATED)
_DELAY = instruments.gauge(metrics.DELAY)
_LAG = instruments.gauge(metrics.LAG)
_LETTERS = instruments.gauge(metrics.DEAD_LETTERS)


class Stores(NamedTuple):
    """What the process keeps. What is done within ``together`` may be one transaction where stores share a database."""

    profiles: Profiles
    popularity: Popularity
    items: Items
    ledger: Ledger
    together: Callable[[], AbstractContextManager[object]] = nullcontext


class ProfilesProcess:
    """Reads a source's four topics; the only writer of its stores. Trainers write dead letters too."""

    def __init__(
        self,
        log: EventLog,
        source: str,
        weights: dict[str, float],
        stores: Stores,
        credit: Credit,
        clocks: Clocks | None = None,
    ) -> None:
        self._log, self._group, self._topics = log, profiles_group(source), topics_of(source)
        self._weights, self._stores, self._credit = weights, stores, credit
        self._clocks = clocks or Clocks()
        committed = log.committed(self._group)
        self._positions = {
            partition: committed.get(partition, 0)
            for topic in _read_topics(self._topics)
            for partition in log.partitions(topic)
        }
        interactions = {each: self._positions[each] for each in log.partitions(self._topics.interactions)}
        self._duplicates, newest = read_again(log, interactions)
        self._log_time = LogTime(self._clocks, newest)
        self._dead_letters = DeadLetters(log, self._topics.dead_letters, committed)
        self._waiting: Batch | None = None
        self._times: dict[Partition, int] = {}
        self._credit_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set; a store that cannot answer is waited for, nothing is skipped."""
        while not stopping.is_set():
            try:
                self.step()
            except StorageUnavailable as error:
                _log.error("storage unavailable, waiting", reason=str(error))
                stopping.wait(PAUSE_S)

    def step(self, timeout_s: float = TIMEOUT_S) -> int:
        """Apply one batch, credit when it is time; return how many records there were.

        Raises :class:`StorageUnavailable`; the next call goes on with the same batch.
        """
        if self._waiting is None:
            records = self._log.read(self._positions, LIMIT, timeout_s)
            self._waiting = Batch(self._topics, self._weights, self._duplicates).sort(records)
        self._apply(self._waiting)
        applied, self._waiting = self._waiting, None
        self._credit_when_due()
        return applied.records

    def _credit_when_due(self) -> None:
        if self._clocks.monotonic() < self._credit_at:
            return
        self._credit_at = self._clocks.monotonic() + EVIDENCE_S
        try:
            self.credit()
        except StorageUnavailable as error:  # answers stay due; records go on being applied
            _log.warning("crediting waits", reason=str(error))

    def credit(self) -> None:
        """Judge answers and write evidence now."""
        now = self._log_time.now()
        self._credit.round(self._watermarks(now), now, self._clocks.wall())

    def _apply(self, batch: Batch) -> None:
        if not batch.records:
            return
        with self._stores.together():
            for partition, events in batch.applied.items():
                self._stores.profiles.apply(partition, events)
            for partition, gains in batch.gains.items():
                self._stores.popularity.apply(partition, gains)
            self._describe(batch)
        if batch.answers or batch.clicks:
            self._stores.ledger.record(batch.answers, batch.clicks)
        positions = {**self._positions, **batch.ends}
        self._dead_letters.write(batch.rejected, positions)
        self._log.commit(self._group, {**positions, **self._dead_letters.ends})
        self._dead_letters.committed(positions)
        self._positions = positions
        self._note(batch)

    def _describe(self, batch: Batch) -> None:
        put = [item for item in batch.items.values() if item is not None]
        deleted = [item_id for item_id, item in batch.items.items() if item is None]
        if put:
            self._stores.items.put(put)
        if deleted:
            self._stores.items.delete(deleted)
        if batch.users:
            self._stores.profiles.describe(batch.users)

    def _watermarks(self, now: int) -> dict[int, int]:
        """Return, per partition number, the log time up to which interactions and answers have been read."""
        _LETTERS.set(sum(self._log.end_offsets(self._topics.dead_letters).values()))
        watermarks: dict[int, int] = {}
        for topic in _read_topics(self._topics):
            for partition, end in self._log.end_offsets(topic).items():
                lag = max(0, end - self._positions[partition])
                _LAG.labels(topic, partition.number).set(lag)
                if topic in (self._topics.interactions, self._topics.answers):
                    read = now if lag == 0 else min(now, self._times.get(partition, 0))
                    watermarks[partition.number] = min(read, watermarks.get(partition.number, read))
        return watermarks

    def _note(self, batch: Batch) -> None:
        """Remember and tell what was applied."""
        for partition, record in batch.last.items():
            self._times[partition] = record.timestamp
            self._log_time.seen(record.timestamp)
        for partition, record in batch.first.items():
            delay_s = max(0.0, self._clocks.wall() - record.timestamp / 1e3)
            _DELAY.labels(partition.topic, partition.number).set(delay_s)
        for topic, count in batch.counts.items():
            _APPLIED.labels(topic).inc(count)
        _REPEATED.labels(self._topics.interactions).inc(batch.repeated)
        _tell(batch.rejected)


def _read_topics(topics: Topics) -> tuple[str, ...]:
    return topics.interactions, topics.answers, topics.items, topics.users


def _tell(rejected: list[Rejected]) -> None:
    for each in rejected:
        _REJECTED.labels(each.record.partition.topic, each.reason).inc()
    if rejected:
        first = rejected[0]
        topic, partition = first.record.partition
        at = {"topic": topic, "partition": partition, "offset": first.record.offset}
        _log.warning("records rejected", count=len(rejected), reason=first.detail, **at)
