"""Records on their way in: every one of a request is checked before any is appended to the log."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeVar

import falcon

from sluice import instruments, metrics
from sluice.errors import InvalidRecord
from sluice.events import EventLog, NewRecord
from sluice.records import (
    MAX_RECORD_BYTES,
    Forget,
    Interaction,
    Item,
    User,
    check_id,
    encode,
    interaction_from,
    item_from,
    user_from,
)
from sluice.topics import Topics
from sluice.web.bodies import send
from sluice_recommender.api.access import Access
from sluice_recommender.api.answers import Accepted
from sluice_recommender.api.appends import Appends
from sluice_recommender.api.documents import body, fields, parameters, with_whole
from sluice_recommender.api.keys import ADMIN, Scope

MAX_BATCH: Final = 1_000
MIN_TS: Final = 100_000_000_000
"""March 1973 in milliseconds, the year 5138 in seconds: what is below was not meant as milliseconds."""
MAX_AHEAD_MS: Final = 86_400_000
_ACCEPTED = instruments.counter(metrics.ACCEPTED)
R = TypeVar("R")


def parse_batch(document: Any, parse: Callable[[Any], R]) -> list[R]:
    """Return the records of one object or a list of up to 1,000.

    Raises :class:`InvalidRecord` for the first bad one, naming its index.
    """
    documents = document if isinstance(document, list) else [document]
    if not 1 <= len(documents) <= MAX_BATCH:
        raise InvalidRecord(
            "bad-batch", f"send 1 to {MAX_BATCH} records in one request, not {len(documents)}"
        )
    return [_parse_one(index, each, parse) for index, each in enumerate(documents)]


def _parse_one(index: int, document: Any, parse: Callable[[Any], R]) -> R:
    try:
        return parse(document)
    except InvalidRecord as error:
        raise InvalidRecord(error.reason, f"record {index}: {error}; none was taken") from error


def interaction(document: Any, now_ms: int) -> Interaction | Forget:
    """Return a checked interaction or forget; ``now_ms`` is Unix time in milliseconds."""
    known = fields(document, _INTERACTION, "an interaction")
    record = interaction_from(with_whole(known, "ts"))
    if isinstance(record, Forget):
        fields(document, Forget.__struct_fields__, "a forget")
    elif record.ts is not None:
        check_ts(record.ts, now_ms)
    return record


_INTERACTION: Final = (*Interaction.__struct_fields__, "control")


def check_ts(ts: int, now_ms: int) -> None:
    """Raise :class:`InvalidRecord` unless ``ts`` is a time since 1973 and at most a day ahead of ``now_ms``."""
    if ts < MIN_TS:
        raise InvalidRecord("bad-field", f"ts is {ts}, which looks like seconds; send Unix milliseconds")
    if ts <= now_ms + MAX_AHEAD_MS:
        return
    if ts // 1_000 >= MIN_TS:
        raise InvalidRecord("bad-field", f"ts is {ts}, which looks like microseconds; send Unix milliseconds")
    raise InvalidRecord("bad-field", f"ts is {ts}, more than 24 hours ahead; correct the sender's clock")


def item(document: Any) -> Item:
    """Return a checked item."""
    record = item_from(fields(document, Item.__struct_fields__, "an item"))
    _check_size(record, "an item")
    return record


def user(document: Any) -> User:
    """Return a checked user."""
    record = user_from(fields(document, User.__struct_fields__, "a user"))
    _check_size(record, "a user")
    return record


def _check_size(record: Item | User, what: str) -> None:
    if len(encode(record)) > MAX_RECORD_BYTES:
        raise InvalidRecord("too-large", f"{what} may have {MAX_RECORD_BYTES} bytes; shorten it")


def deletions(document: Any) -> list[str] | None:
    """Return the ids of ``{"delete": [...]}``, None if the document is something else."""
    if not isinstance(document, dict) or "delete" not in document:
        return None
    listed = fields(document, ("delete",), "the body")["delete"]
    if not isinstance(listed, list):
        raise InvalidRecord("bad-field", "delete must be a list of ids; correct it")
    return parse_batch(listed, lambda each: check_id(each, "delete"))


def take_changes(
    req: falcon.Request,
    resp: falcon.Response,
    parse: Callable[[Any], R],
    put: Callable[[list[R]], None],
    delete: Callable[[list[str]], None],
) -> None:
    """Take one record, a list of up to 1,000, or ``{"delete": [ids]}`` from a body; 202 once the log has them."""
    parameters(req, ())
    document = body(req)
    deleted = deletions(document)
    if deleted is not None:
        delete(deleted)
        send(resp, Accepted(len(deleted)), 202)
        return
    records = parse_batch(document, parse)
    put(records)
    send(resp, Accepted(len(records)), 202)


class Intake:
    """Appends checked records to a source's topics; each call returns once the log has them durably.

    While the log is away, a call raises :class:`~sluice.errors.StorageUnavailable` within a second, and all but
    ``patient`` at once sooner; the log may come to have the records all the same.
    """

    def __init__(self, log: EventLog, topics: Topics, patient: int = 1) -> None:
        self._log, self._topics, self._appends = log, topics, Appends(patient)

    def interactions(self, records: Sequence[Interaction | Forget]) -> None:
        """Append interactions and forgets in order; what is known of forgotten users goes first."""
        forgotten = [each.user_id for each in records if isinstance(each, Forget)]
        encoded = [NewRecord(each.user_id.encode(), encode(each)) for each in records]
        self._append((self._topics.users, _tombstones(forgotten)), (self._topics.interactions, encoded))

    def items(self, records: Sequence[Item]) -> None:
        """Append items."""
        encoded = [NewRecord(each.item_id.encode(), encode(each)) for each in records]
        self._append((self._topics.items, encoded))

    def users(self, records: Sequence[User]) -> None:
        """Append users."""
        encoded = [NewRecord(each.user_id.encode(), encode(each)) for each in records]
        self._append((self._topics.users, encoded))

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """Append the tombstones of items."""
        self._append((self._topics.items, _tombstones(item_ids)))

    def forget(self, user_ids: Sequence[str]) -> None:
        """Append the tombstones of users, then their forgets; appended in part, it may be repeated."""
        self.interactions([Forget(user_id=each) for each in user_ids])

    def _append(self, *batches: tuple[str, Sequence[NewRecord]]) -> None:
        """Append one batch after the other, those that are empty left out."""

        def append() -> None:
            for topic, records in batches:
                if records:
                    self._log.append(topic, records)
                    _ACCEPTED.labels(topic).inc(len(records))

        self._appends.run(append)


def _tombstones(ids: Sequence[str]) -> list[NewRecord]:
    return [NewRecord(each.encode(), None) for each in ids]


class InteractionsResource:
    """``POST /v1/interactions``: one interaction or a list of up to 1,000.

    202 ``{"accepted": n}`` once the log has them all; 400 naming index and field, then none was taken; 403
    for a forget without scope admin; 413 above 1 MiB; 503 if the log cannot take them.
    """

    scopes: ClassVar[dict[str, Scope]] = {"POST": "write"}

    def __init__(self, intake: Intake, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._intake, self._access, self._clock = intake, access, clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Append interactions."""
        now = int(self._clock() * 1e3)
        records = parse_batch(body(req), lambda document: interaction(document, now))
        if any(isinstance(each, Forget) for each in records):
            self._access.require(req, ADMIN)
        self._intake.interactions(records)
        send(resp, Accepted(len(records)), 202)
