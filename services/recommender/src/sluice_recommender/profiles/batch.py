"""Sorts a batch of records out: what profiles, popularity, items, users and attribution take. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluice.encoder import event_weight
from sluice.errors import InvalidRecord
from sluice.events import Partition, StoredRecord
from sluice.items import growth
from sluice.profile import Applied
from sluice.records import (
    Forget,
    Interaction,
    Item,
    User,
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
    """What is in a batch, by who takes it. ``counted`` is how far popularity has counted each partition."""

    def __init__(
        self, topics: Topics, weights: Mapping[str, float], counted: Mapping[Partition, int]
    ) -> None:
        self._weights, self._counted = weights, counted
        self._readers = {
            topics.interactions: self._interaction,
            topics.answers: self._answer,
            topics.items: self._item,
            topics.users: self._user,
        }
        self.applied: dict[Partition, dict[str, list[Applied]]] = defaultdict(lambda: defaultdict(list))
        self.gains: dict[Partition, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.items: dict[str, Item | None] = {}
        self.users: dict[str, User] = {}
        self.answers: dict[int, list[Given]] = defaultdict(list)
        self.clicks: dict[int, list[Click | Forgotten]] = defaultdict(list)
        self.rejected: list[Rejected] = []
        self.ends: dict[Partition, int] = {}
        self.times: dict[Partition, int] = {}

    def sort(self, records: Sequence[StoredRecord]) -> "Batch":
        """Take ``records`` in, per partition in offset order."""
        for record in records:
            try:
                self._readers[record.partition.topic](record)
            except InvalidRecord as error:
                self.rejected.append(Rejected(record, error.reason, str(error)))
            self.ends[record.partition] = record.offset + 1
            self.times[record.partition] = record.timestamp
        return self

    def _interaction(self, record: StoredRecord) -> None:
        event = decode_interaction(_payload(record))
        self.applied[record.partition][event.user_id].append(Applied(record.offset, record.timestamp, event))
        clicks = self.clicks[record.partition.number]
        if isinstance(event, Forget):
            clicks.append(Forgotten(record.offset, event.user_id))
            return
        clicks.append(_click(record, event))
        if record.offset >= self._counted.get(record.partition, 0):
            gain = event_weight(self._weights, event.event, event.value) * growth(record.timestamp / 1e3)
            self.gains[record.partition][event.item_id] += gain

    def _answer(self, record: StoredRecord) -> None:
        answer = decode_answer(_payload(record))
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
            )
        )

    def _item(self, record: StoredRecord) -> None:
        if record.value is None:
            self.items[_key(record)] = None
        else:
            item = decode_item(record.value)
            self.items[item.item_id] = item

    def _user(self, record: StoredRecord) -> None:
        user = User(user_id=_key(record)) if record.value is None else decode_user(record.value)
        self.users[user.user_id] = user


class Forgotten(NamedTuple):
    """A user whose earlier answers and clicks are void."""

    offset: int
    user_id: str


def _click(record: StoredRecord, event: Interaction) -> Click:
    return Click(record.offset, record.timestamp, event.user_id, event.item_id, event.request_id)


def _payload(record: StoredRecord) -> bytes:
    if record.value is None:
        raise InvalidRecord("empty", "the record has no value; send a JSON object")
    return record.value


def _key(record: StoredRecord) -> str:
    try:
        return check_id(record.key.decode(), "key")
    except UnicodeDecodeError as error:
        raise InvalidRecord("bad-id", "key must be valid UTF-8") from error
