"""Sorts a batch of records out: what profiles, popularity, items, users and attribution take. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluice.duplicates import Duplicates
from sluice.encoder import event_weight
from sluice.errors import InvalidRecord
from sluice.events import Partition, StoredRecord
from sluice.experiment import rollout_of
from sluice.items import Gain, growth
from sluice.profile import Applied, Described
from sluice.records import (
    Forget,
    Interaction,
    Item,
    check_id,
    decode_answer,
    decode_interaction,
    decode_item,
    decode_user,
)
from sluice.topics import Topics
from sluice_recommender.profiles.attribution import Click, Given, given_at


class Rejected(NamedTuple):
    """A record that cannot be read, and why."""

    record: StoredRecord
    reason: str
    detail: str


class Batch:
    """What is in a batch, by who takes it. ``duplicates`` knows the event ids of all records before it."""

    def __init__(self, topics: Topics, weights: Mapping[str, float], duplicates: Duplicates) -> None:
        self._weights, self._duplicates = weights, duplicates
        self._readers = {
            topics.interactions: self._interaction,
            topics.answers: self._answer,
            topics.items: self._item,
            topics.users: self._user,
        }
        self.applied: dict[Partition, dict[str, list[Applied]]] = defaultdict(lambda: defaultdict(list))
        self.gains: dict[Partition, list[Gain]] = defaultdict(list)
        self.items: dict[str, Item | None] = {}
        self.users: dict[str, Described] = {}
        self.answers: dict[int, list[Given]] = defaultdict(list)
        self.clicks: dict[int, list[Click | Forgotten]] = defaultdict(list)
        self.rejected: list[Rejected] = []
        self.repeated = 0
        self.counts: dict[str, int] = defaultdict(int)
        self.first: dict[Partition, StoredRecord] = {}
        self.last: dict[Partition, StoredRecord] = {}

    def sort(self, records: Sequence[StoredRecord]) -> "Batch":
        """Take ``records`` in, per partition in offset order."""
        for record in records:
            topic = record.partition.topic
            self.counts[topic] += 1
            try:
                self._readers[topic](record)
            except InvalidRecord as error:
                self.rejected.append(Rejected(record, error.reason, str(error)))
            self.first.setdefault(record.partition, record)
            self.last[record.partition] = record
        return self

    @property
    def records(self) -> int:
        """Return how many there are."""
        return sum(self.counts.values())

    @property
    def ends(self) -> dict[Partition, int]:
        """Return the positions behind the batch."""
        return {partition: record.offset + 1 for partition, record in self.last.items()}

    def _interaction(self, record: StoredRecord) -> None:
        event = decode_interaction(_payload(record))
        if repeats(event, record, self._duplicates):
            self.repeated += 1
            return
        self.applied[record.partition][event.user_id].append(Applied(record.offset, record.timestamp, event))
        clicks = self.clicks[record.partition.number]
        if isinstance(event, Forget):
            clicks.append(Forgotten(record.offset, record.timestamp, event.user_id))
            return
        clicks.append(_click(record, event))
        amount = event_weight(self._weights, event.event, event.value) * growth(record.timestamp / 1e3)
        self.gains[record.partition].append(Gain(record.offset, event.item_id, amount))

    def _answer(self, record: StoredRecord) -> None:
        answer = decode_answer(_payload(record))
        check_id(answer.user_id, "user_id")
        self.answers[record.partition.number].append(
            Given(
                offset=record.offset,
                logged=record.timestamp,
                at=given_at(answer.ts, record.timestamp),
                request_id=answer.request_id,
                user_id=answer.user_id,
                model=answer.model,
                snapshot=answer.snapshot,
                items=answer.items,
                experiment=rollout_of(answer.experiment) if answer.experiment else "",
            )
        )

    def _item(self, record: StoredRecord) -> None:
        if record.value is None:
            self.items[_key(record)] = None
        else:
            item = decode_item(record.value)
            _check_key(record, item.item_id, "item_id")
            self.items[item.item_id] = item

    def _user(self, record: StoredRecord) -> None:
        user_id, user = _key(record), None
        if record.value is not None:
            user = decode_user(record.value)
            _check_key(record, user.user_id, "user_id")
        self.users[user_id] = Described(record.offset, user)


class Forgotten(NamedTuple):
    """A user whose answers and clicks up to ``at`` (log milliseconds) are void."""

    offset: int
    at: int
    user_id: str


def repeats(event: Interaction | Forget, record: StoredRecord, duplicates: Duplicates) -> bool:
    """Remember the event id of ``record``, if it has one, and return whether it is a repeat."""
    if isinstance(event, Forget) or not event.event_id:
        return False
    return duplicates.repeated(record.partition.number, record.offset, event.event_id)


def _click(record: StoredRecord, event: Interaction) -> Click:
    return Click(record.offset, record.timestamp, event.user_id, event.item_id, event.request_id)


def _payload(record: StoredRecord) -> bytes:
    if record.value is None:
        raise InvalidRecord("empty", "the record has no value; send a JSON object")
    return record.value


def _check_key(record: StoredRecord, named: str, field: str) -> None:
    if record.key != named.encode():
        raise InvalidRecord("bad-key", f"key must be the {field}; the topic is compacted by it")


def _key(record: StoredRecord) -> str:
    try:
        return check_id(record.key.decode(), "key")
    except UnicodeDecodeError as error:
        raise InvalidRecord("bad-id", "key must be valid UTF-8") from error
