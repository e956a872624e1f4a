"""Resources for what is like something: items like an item, users like a user."""

from typing import Annotated, ClassVar, Final

import falcon
import msgspec
from msgspec import Meta

from sluice import filters
from sluice.errors import StorageUnavailable
from sluice.items import Items
from sluice.records import check_id
from sluice.web.bodies import send
from sluice.web.problems import problem
from sluice.web.request_ids import request_id
from sluice_recommender.api.answers import Recommendations
from sluice_recommender.api.asking import MAX_N
from sluice_recommender.api.documents import body, listed, parameters, typed, whole
from sluice_recommender.api.keys import Scope
from sluice_recommender.api.models import Models
from sluice_recommender.api.pods import UnknownItem
from sluice_recommender.api.recommendations import DEFAULT_N

HANDLE_USERS: Final = 10
"""How many users ``POST /similar-users/`` answers with."""


class SimilarItems:
    """``GET /v1/items/{item_id}/similar?n=10&model=&filter=``.

    200, of strategy ``similar``, or ``popular`` for an item in the catalogue that the snapshot lacks (or while the
    catalogue cannot be asked); 404 for an item that neither has.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read"}

    def __init__(self, models: Models, items: Items) -> None:
        self._models, self._items = models, items

    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Recommend items like one."""
        check_id(item_id, "item_id")
        given = parameters(req, ("n", "model", "filter"))
        words = listed(given, "filter")
        n = whole(given, "n", DEFAULT_N, 1, MAX_N)
        send(resp, self._answer(req, given.get("model"), item_id, n, filters.parse(words) if words else None))

    on_head = on_get

    def _answer(
        self, req: falcon.Request, model: str | None, item_id: str, n: int, wanted: filters.Filter | None
    ) -> Recommendations:
        recommender = self._models.find(model)
        try:
            return recommender.similar(item_id, n, request_id(req), wanted)
        except UnknownItem as error:
            if self._is_missing(item_id):
                raise problem(404, "unknown-item", "item_id is unknown; PUT the item first") from error
            return recommender.popular(n, request_id(req), wanted)

    def _is_missing(self, item_id: str) -> bool:
        try:
            return not self._items.get([item_id])
        except StorageUnavailable:
            return False


class SimilarUsers:
    """``GET /v1/users/{user_id}/similar?n=10&model=``: 200; 404 saying whether user or unit is the reason."""

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read"}

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Name users like one."""
        check_id(user_id, "user_id")
        given = parameters(req, ("n", "model"))
        n = whole(given, "n", DEFAULT_N, 1, MAX_N)
        send(resp, self._models.find(given.get("model")).similar_users(user_id, n, request_id(req)))

    on_head = on_get


Handle = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]


class HandleAsk(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /similar-users/``; a whole number stands for its digits."""

    user_handle: str | Handle
    model_handle: str | None = None


class SimilarUsersByHandle:
    """``POST /similar-users/`` as the systems before Sluice took it: 200 with 10 users; 404 as above."""

    scopes: ClassVar[dict[str, Scope]] = {"POST": "read"}

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Name users like one."""
        ask = typed(body(req), HandleAsk, "user_handle")
        user_id = check_id(str(ask.user_handle), "user_handle")
        send(resp, self._models.find(ask.model_handle).similar_users(user_id, HANDLE_USERS, request_id(req)))
