"""Resources of the item catalogue."""

from typing import Any, ClassVar

import falcon

from sluice.errors import InvalidRecord
from sluice.items import Items
from sluice.records import Item, check_id
from sluice.web.bodies import send
from sluice.web.problems import problem
from sluice_recommender.api import conditions, intake
from sluice_recommender.api.answers import Accepted
from sluice_recommender.api.documents import body, parameters
from sluice_recommender.api.intake import Intake, take_changes
from sluice_recommender.api.keys import Scope


class ItemResource:
    """``GET|PUT|DELETE /v1/items/{item_id}``, with ``ETag``, ``If-None-Match`` and ``If-Match``.

    GET: 200, 304 or 404. PUT and DELETE: 202 once the log has it, seen by GET a moment later; 400 for an
    unusable item or another ``item_id`` in the body; 412 if the condition does not hold for what GET shows
    now. Two writers within that moment may both hold it: a write goes through the log, not through GET's store.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read", "PUT": "admin", "DELETE": "admin"}

    def __init__(self, items: Items, taken: Intake) -> None:
        self._items, self._intake = items, taken

    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Return one item."""
        parameters(req, ())
        show(req, resp, self._read(item_id))

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Insert or replace one item."""
        parameters(req, ())
        record = intake.item(with_id(body(req), "item_id", check_id(item_id, "item_id")))
        self._check(req, item_id)
        self._intake.items([record])
        resp.set_header("ETag", conditions.tag(conditions.content(record)))
        send(resp, Accepted(1), 202)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Delete one item; an unknown one is deleted too."""
        parameters(req, ())
        check_id(item_id, "item_id")
        self._check(req, item_id)
        self._intake.delete_items([item_id])
        send(resp, Accepted(1), 202)

    def _read(self, item_id: str) -> Item | None:
        return self._items.get([check_id(item_id, "item_id")]).get(item_id)

    def _check(self, req: falcon.Request, item_id: str) -> None:
        if_match, if_none_match = req.get_header("If-Match"), req.get_header("If-None-Match")
        if if_match is None and if_none_match is None:
            return
        found = self._read(item_id)
        current = None if found is None else conditions.tag(conditions.content(found))
        failed = conditions.failed_condition(if_match, if_none_match, current)
        if failed is not None:
            raise problem(failed.status, failed.reason, failed.detail)


class ItemsResource:
    """``POST /v1/items``: one item, a list of up to 1,000, or ``{"delete": [ids]}``; 202 once the log has them.

    ``GET /v1/items?item_id=`` is :class:`ItemResource`'s GET for ids that do not fit a path.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read", "POST": "admin"}

    def __init__(self, items: Items, taken: Intake) -> None:
        self._items, self._intake = items, taken

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return one item."""
        item_id = the_id(req, "item_id")
        show(req, resp, self._items.get([item_id]).get(item_id))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Insert, replace or delete items."""
        take_changes(req, resp, intake.item, self._intake.items, self._intake.delete_items)


def show(req: falcon.Request, resp: falcon.Response, item: Item | None) -> None:
    """Answer with an item and its ETag: 200, 304 if the client has it, 404 if there is none."""
    if item is None:
        raise problem(404, "unknown-item", "item_id is unknown; PUT the item first")
    current = conditions.tag(conditions.content(item))
    resp.set_header("ETag", current)
    if conditions.unchanged(req.get_header("If-None-Match"), current):
        resp.status = 304
        return
    send(resp, item)


def the_id(req: falcon.Request, name: str) -> str:
    """Return the id in the query; raises :class:`InvalidRecord` if it is missing or unusable."""
    given = parameters(req, (name,)).get(name)
    if given is None:
        raise InvalidRecord("missing-parameter", f"{name} is missing; add ?{name}=<id>")
    return check_id(given, name)


def with_id(document: Any, name: str, value: str) -> Any:
    """Return a body that was put under an id, with that id; raises :class:`InvalidRecord` if it has another."""
    if isinstance(document, dict) and document.setdefault(name, value) != value:
        raise InvalidRecord("bad-field", f"{name} differs from the path's; leave it out of the body")
    return document
