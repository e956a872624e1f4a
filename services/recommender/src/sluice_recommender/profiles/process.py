"""The consumer loop of ``sluice-recommender profiles``.

Per batch, in this order: 1. profiles, 2. popularity, 3. items and users, 4. attribution, 5. dead letters,
6. commit of the positions. A crash in between repeats the batch; 1, 2 and 4 know the offsets they have taken
in, 3 puts the same again, 5 knows the origins it has written. So every record counts once.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import prometheus_client
import structlog

from sluice import metrics
from sluice.errors import StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.items import Items, Popularity
from sluice.profile import Profiles
from sluice.topics import Topics, profiles_group, topics_of
from sluice_recommender.profiles.batch import Batch
from sluice_recommender.profiles.credit import EVIDENCE_S, Credit
from sluice_recommender.profiles.dead_letters import DeadLetters
from sluice_recommender.profiles.ledger import Ledger

LIMIT: Final = 1_000
TIMEOUT_S: Final = 0.1
PAUSE_S: Final = 0.5
_log = structlog.get_logger()
_APPLIED = prometheus_client.Counter(
    metrics.EVENTS_APPLIED.removesuffix("_total"), "Records applied.", ["topic"]
)
_REJECTED = prometheus_client.Counter(
    metrics.EVENTS_REJECTED.removesuffix("_total"),
    "Records sent to the dead-letter topic.",
    ["topic", "reason"],
)
_LAG = prometheus_client.Gauge(metrics.LAG, "Records not yet applied.", ["topic", "partition"])


class Stores(NamedTuple):
    """What the process keeps."""

    profiles: Profiles
    popularity: Popularity
    items: Items
    ledger: Ledger


class ProfilesProcess:
    """Reads a source's four topics; the only writer of its stores and of its dead-letter topic."""

    def __init__(
        self,
        log: EventLog,
        source: str,
        weights: dict[str, float],
        stores: Stores,
        credit: Credit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._group, self._topics = log, profiles_group(source), topics_of(source)
        self._weights, self._stores, self._credit, self._clock = weights, stores, credit, clock
        committed = log.committed(self._group)
        self._positions = {
            partition: committed.get(partition, 0)
            for topic in _read_topics(self._topics)
            for partition in log.partitions(topic)
        }
        self._counted = {
            partition: stores.popularity.counted_to(partition)
            for partition in log.partitions(self._topics.interactions)
        }
        self._dead_letters = DeadLetters(log, self._topics.dead_letters, committed)
        self._times: dict[Partition, int] = {}
        self._credited_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set; a store that cannot answer is waited for, nothing is skipped."""
        while not stopping.is_set():
            try:
                self.step()
            except StorageUnavailable as error:
                _log.error("waiting for a store", reason=str(error))
                stopping.wait(PAUSE_S)

    def step(self, timeout_s: float = TIMEOUT_S) -> int:
        """Apply one batch, credit when it is time; return how many records there were."""
        records = self._log.read(self._positions, LIMIT, timeout_s)
        if records:
            self._apply(records)
        if self._clock() - self._credited_at >= EVIDENCE_S:
            self.credit()
        return len(records)

    def credit(self) -> None:
        """Judge answers and write evidence now."""
        now = self._clock()
        self._credit.round(self._watermarks(int(now * 1e3)), now)
        self._credited_at = now

    def _apply(self, records: list[StoredRecord]) -> None:
        batch = Batch(self._topics, self._weights, self._counted).sort(records)
        for partition, events in batch.applied.items():
            self._stores.profiles.apply(partition, events)
        for partition, gains in batch.gains.items():
            self._stores.popularity.apply(partition, batch.ends[partition], gains)
            self._counted[partition] = batch.ends[partition]
        self._describe(batch)
        for part in sorted(batch.answers.keys() | batch.clicks.keys()):
            self._stores.ledger.record(part, batch.answers[part], batch.clicks[part])
        self._dead_letters.write(batch.rejected)
        self._positions.update(batch.ends)
        self._log.commit(self._group, {**self._positions, **self._dead_letters.ends})
        self._dead_letters.committed()
        self._times.update(batch.times)
        _measure(batch, records)

    def _describe(self, batch: Batch) -> None:
        put = [item for item in batch.items.values() if item is not None]
        deleted = [item_id for item_id, item in batch.items.items() if item is None]
        if put:
            self._stores.items.put(put)
        if deleted:
            self._stores.items.delete(deleted)
        if batch.users:
            self._stores.profiles.describe(list(batch.users.values()))

    def _watermarks(self, now: int) -> dict[int, int]:
        """Return, per partition number, the log time up to which interactions and answers have been read."""
        watermarks: dict[int, int] = {}
        for topic in _read_topics(self._topics):
            for partition, end in self._log.end_offsets(topic).items():
                lag = max(0, end - self._positions[partition])
                _LAG.labels(topic, partition.number).set(lag)
                if topic in (self._topics.interactions, self._topics.answers):
                    read = now if lag == 0 else self._times.get(partition, 0)
                    watermarks[partition.number] = min(read, watermarks.get(partition.number, read))
        return watermarks


def _read_topics(topics: Topics) -> tuple[str, ...]:
    return topics.interactions, topics.answers, topics.items, topics.users


def _measure(batch: Batch, records: list[StoredRecord]) -> None:
    for record in records:
        _APPLIED.labels(record.partition.topic).inc()
    for rejected in batch.rejected:
        _REJECTED.labels(rejected.record.partition.topic, rejected.reason).inc()
    if batch.rejected:
        first = batch.rejected[0]
        topic, number = first.record.partition
        at = f"{topic}[{number}] {first.record.offset}"
        _log.warning("records rejected", count=len(batch.rejected), first=at, reason=first.detail)
