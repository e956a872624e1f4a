"""The consumer loop of ``sluice-recommender profiles``, one member of its source's group.

Per batch, in this order: 1. profiles, popularity, items and users, 2. attribution, 3. dead letters, 4. commit
of the positions. A crash in between repeats the batch, or a longer one that begins with it: profiles,
popularity and attribution know the offsets they have taken in, items are put as they were, dead letters know
the origins they have written. So every record counts once. A store that cannot answer keeps the batch
waiting: nothing is skipped, and nothing behind it is read.

Another member may take partitions over at any moment, also one that believes this one dead. Then the batch that
waits is given up, and what is still this process's own is read again from the positions. What a member writes
that was replaced without knowing is refused: by the stores, who know their offsets, and by the group.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.items import Items, Popularity
from sluice.positions import at, require_siblings, resumed
from sluice.profile import Profiles
from sluice.topics import Topics, profiles_group, topics_of
from sluice_recommender.profiles.assignment import Assignment
from sluice_recommender.profiles.batch import Batch, Rejected
from sluice_recommender.profiles.catching_up import CatchUp
from sluice_recommender.profiles.credit import EVIDENCE_S, Credit
from sluice_recommender.profiles.dead_letters import DeadLetters
from sluice_recommender.profiles.lags import SEEN_MS, Lags
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks, LogTime
from sluice_recommender.profiles.window import RepeatWindow

LIMIT: Final = 1_000
MOST: Final = 4_000
"""So many records a batch takes while there are always more: fewer writes of the same profiles, fewer commits."""
TIMEOUT_S: Final = 0.1
PAUSE_S: Final = 0.5
LEASE_S: Final = 2.0
"""So long after the group took a commit nobody else can have this member's partitions; sessions are longer."""
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
    """Reads its share of a source's four topics. Its like write to the same stores, of other partitions."""

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
        self._window, self._log_time = RepeatWindow(log), LogTime(self._clocks, 0)
        self._dead_letters = DeadLetters(log, self._topics.dead_letters)
        self._lags = Lags(log)
        self._catch_up = CatchUp(log, self._topics, stores.ledger, self._clocks.monotonic)
        self._waiting: Batch | None = None
        self._applied: dict[Partition, int] = {}
        self._times: dict[Partition, int] = {}
        self._limit, self._credit_at, self._confirmed_at = LIMIT, 0.0, float("-inf")
        self.turned_at = self._clocks.monotonic()
        self._own = Assignment(self._commit_applied, self._release)
        self._member = log.join(self._group, _read_topics(self._topics), self._own)

    @property
    def joined(self) -> bool:
        """Whether the group has taken this process in; it may have been given no partition."""
        return self._member.joined

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set; a store that cannot answer is waited for, nothing is skipped."""
        while not stopping.is_set():
            self.turned_at = self._clocks.monotonic()
            try:
                self.step()
            except StorageUnavailable as error:
                _log.error("storage unavailable, waiting", reason=str(error))
                stopping.wait(PAUSE_S)
        self.close()

    def close(self) -> None:
        """Leave the group, so that others go on at once."""
        try:
            self._member.close()
        except StorageUnavailable as error:
            _log.warning("the group was not told", reason=str(error))

    def step(self, timeout_s: float = TIMEOUT_S) -> int:
        """Apply one batch, credit when it is time; return how many records there were.

        Raises :class:`StorageUnavailable`; the next call goes on with the same batch, if it is still this
        process's own.
        """
        if self._waiting is not None or self._own.new:
            self._member.stay()
        batch = self._waiting or self._read(timeout_s)
        self._apply(batch)
        self._waiting = None
        self._credit_when_due()
        return batch.records

    def _read(self, timeout_s: float) -> Batch:
        """Return what there is, once it is known which partitions are to be read."""
        changes, records = -1, list[StoredRecord]()
        while changes != self._own.changes:
            self._take_over()
            self._catch_up.work(self._own.positions, self._needed_from)
            changes = self._own.changes
            try:
                records = self._member.read(self._own.positions, self._limit, timeout_s)
            except OffsetOutOfRange as error:
                self._own.positions.update(resumed(self._own.positions, error))
                changes = -1
        self._limit = min(MOST, 2 * self._limit) if len(records) >= self._limit else LIMIT
        self._waiting = Batch(self._topics, self._weights, self._window.duplicates).sort(records)
        self._window.fed(self._waiting.ends)
        return self._waiting

    def _take_over(self) -> None:
        """Find out where the partitions assigned stand. None is read before all is known of each."""
        while self._own.new:
            changes, new = self._own.changes, sorted(self._own.new)
            committed = self._log.committed(self._group)
            require_siblings(new, committed, _read_topics(self._topics))
            begins = self._begins(new)
            positions = {each: committed.get(each, begin) for each, begin in begins.items()}
            windows = {
                each: end for each, end in positions.items() if each.topic == self._topics.interactions
            }
            if newest := self._window.take_over(windows, begins, self._stay):
                self._log_time.seen(newest)
            if changes == self._own.changes:
                self._begin(positions, committed)

    def _stay(self) -> None:
        self.turned_at = self._clocks.monotonic()
        self._member.stay()

    def _begins(self, partitions: list[Partition]) -> dict[Partition, int]:
        found = {topic: self._log.begin_offsets(topic) for topic in {each.topic for each in partitions}}
        return {each: at(found[each.topic], each) for each in partitions}

    def _begin(self, positions: dict[Partition, int], committed: dict[Partition, int]) -> None:
        numbers = {each.number for each in positions}
        self._dead_letters.take_over(numbers, committed, len(self._log.partitions(self._topics.interactions)))
        self._catch_up.take_over(numbers)
        self._own.take_over(positions)
        self._window.keep(self._own.positions.keys())

    def _release(self, partitions: set[Partition]) -> None:
        """Give up what waits, and all that concerns ``partitions``."""
        self._waiting, self._applied = None, {}
        numbers = {each.number for each in partitions}
        self._dead_letters.release(numbers)
        self._catch_up.release(numbers)
        for each in partitions & self._times.keys():
            del self._times[each]

    def _needed_from(self) -> int:
        return self._credit.needed_from(self._log_time.now())

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
        self._catch_up.take_over(self._credit.round(self._watermarks(now), now, self._clocks.wall()))
        self._catch_up.tidy()

    def _apply(self, batch: Batch) -> None:
        if not batch.records:
            return
        if not self._applied:
            positions = self._own.positions | batch.ends
            self._write(batch, positions)
            self._applied = positions | self._dead_letters.ends
        self._commit_applied()
        self._own.positions.update(batch.ends)
        self._dead_letters.committed(self._own.positions)
        self._note(batch)

    def _write(self, batch: Batch, positions: dict[Partition, int]) -> None:
        if batch.items:
            self._confirm()
        with self._stores.together():
            self._describe(batch)
            for partition, events in batch.applied.items():
                self._stores.profiles.apply(partition, events)
            for partition, gains in batch.gains.items():
                self._stores.popularity.apply(partition, gains)
        self._catch_up.feed(batch, self._own.positions)
        if batch.rejected:
            self._confirm()
        self._dead_letters.write(batch.rejected, positions)

    def _commit_applied(self) -> None:
        """Commit what was applied and is not committed yet."""
        if self._applied:
            asked_at = self._clocks.monotonic()
            self._member.commit(self._applied)
            self._applied, self._confirmed_at = {}, asked_at

    def _confirm(self) -> None:
        """Ask the group whether this is still its member, unless it said so a moment ago.

        Items and dead letters know no positions that would refuse one that was replaced while it slept.
        """
        asked_at = self._clocks.monotonic()
        if asked_at >= self._confirmed_at + LEASE_S:
            self._member.commit(self._own.positions)
            self._confirmed_at = asked_at

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
        read_to = {}
        for partition, lag in self._lags.of(self._own.positions).items():
            _LAG.labels(*partition).set(lag)
            read_to[partition] = now - SEEN_MS if lag == 0 else min(now, self._times.get(partition, 0))
        return self._catch_up.watermarks(read_to)

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
