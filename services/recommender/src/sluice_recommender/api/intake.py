"""Resources that take records in: every one is checked before any is appended to the log."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import falcon
import msgspec

from sluice.errors import InvalidRecord
from sluice.events import EventLog, NewRecord
from sluice.items import Items
from sluice.records import (
    MAX_RECORD_BYTES,
    Forget,
    Interaction,
    Item,
    check_id,
    encode,
    interaction_from,
    item_from,
)
from sluice.topics import Topics
from sluice.web.bodies import read_json, send
from sluice.web.problems import problem
from sluice_recommender.api.answers import Accepted

MAX_BATCH: Final = 1_000
R = TypeVar("R", bound=msgspec.Struct)


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


def _interaction(document: Any) -> Interaction:
    record = interaction_from(document)
    if isinstance(record, Forget):
        raise InvalidRecord("not-available", "control is not taken here yet; leave it out")
    return record


def _item(document: Any) -> Item:
    item = item_from(document)
    if len(encode(item)) > MAX_RECORD_BYTES:
        raise InvalidRecord("too-large", f"an item may have {MAX_RECORD_BYTES} bytes; shorten attributes")
    return item


class InteractionsResource:
    """``POST /v1/interactions``: one interaction or a list of up to 1,000.

    202 ``{"accepted": n}`` once the log has them all; 400 naming index and field, then none was taken; 413
    above 1 MiB; 503 if the log cannot take them.
    """

    def __init__(self, log: EventLog, topics: Topics) -> None:
        self._log, self._topic = log, topics.interactions

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Append interactions."""
        records = parse_batch(read_json(req), _interaction)
        self._log.append(self._topic, [NewRecord(each.user_id.encode(), encode(each)) for each in records])
        send(resp, Accepted(len(records)), 202)


class ItemsResource:
    """``POST /v1/items``: one item or a list of up to 1,000; statuses as for interactions."""

    def __init__(self, log: EventLog, topics: Topics) -> None:
        self._log, self._topic = log, topics.items

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Append items."""
        self.append(resp, parse_batch(read_json(req), _item))

    def append(self, resp: falcon.Response, items: list[Item]) -> None:
        """Append checked items and answer 202."""
        self._log.append(self._topic, [NewRecord(each.item_id.encode(), encode(each)) for each in items])
        send(resp, Accepted(len(items)), 202)


class ItemResource:
    """``GET|PUT /v1/items/{item_id}``: 200 the item, 404 unknown; PUT 202, seen by GET a moment later.

    400 for an unusable item, or if the body's ``item_id`` is another one.
    """

    def __init__(self, items: Items, intake: ItemsResource) -> None:
        self._items, self._intake = items, intake

    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Return one item."""
        item = self._items.get([check_id(item_id, "item_id")]).get(item_id)
        if item is None:
            raise problem(404, "unknown-item", "item_id is unknown; PUT the item first")
        send(resp, item)

    def on_put(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Insert or replace one item."""
        document = read_json(req)
        if isinstance(document, dict) and document.setdefault("item_id", item_id) != item_id:
            raise problem(400, "bad-field", "item_id differs from the path's; leave it out of the body")
        self._intake.append(resp, [_item(document)])
