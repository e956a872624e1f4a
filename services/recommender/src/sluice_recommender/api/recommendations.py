"""Resources that recommend: to users and sessions, and what is popular."""

import uuid
from typing import ClassVar, Final

import falcon

from sluice import filters
from sluice.web.bodies import send
from sluice.web.request_ids import HEADER, request_id
from sluice_recommender.api.asking import MAX_N, Ask, check
from sluice_recommender.api.documents import body, listed, parameters, typed, whole
from sluice_recommender.api.keys import Scope
from sluice_recommender.api.models import Models

DEFAULT_N: Final = 10


def answer_id(req: falcon.Request) -> str:
    """Return the id of one answer, which interactions name: no two have the same, though a client repeats its ids.

    It begins with the id of the request.
    """
    named = request_id(req)
    return f"{named}.{uuid.uuid4().hex[:16]}" if req.get_header(HEADER) == named else named


class UserRecommendations:
    """``GET /v1/recommendations/{user_id}?n=10&model=&exclude=a,b&filter=genre:Comedy``.

    200; 400 for an unusable id or parameter; 404 for an unknown model.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read"}

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Recommend to a user."""
        given = parameters(req, ("n", "model", "exclude", "filter"))
        words = listed(given, "filter")
        ask = Ask(
            user_id=user_id,
            n=whole(given, "n", DEFAULT_N, 1, MAX_N),
            exclude=listed(given, "exclude"),
            model=given.get("model"),
            filter=filters.parse(words) if words else None,
        )
        check(ask)
        send(resp, self._models.recommend(ask, answer_id(req)))

    on_head = on_get


class RecommendationsResource:
    """``POST /v1/recommendations`` with an :class:`~sluice_recommender.api.asking.Ask`.

    200; 400 naming the field that is out of bounds; 404 for an unknown model; 413 above 1 MiB.
    """

    scopes: ClassVar[dict[str, Scope]] = {"POST": "read"}

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Recommend to a user, a session, or features."""
        ask = typed(body(req), Ask, "n")
        check(ask)
        send(resp, self._models.recommend(ask, answer_id(req)))


class PopularItems:
    """``GET /v1/popular?n=10&model=&filter=``: 200, the most popular items of the model's source."""

    scopes: ClassVar[dict[str, Scope]] = {"GET": "read", "HEAD": "read"}

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Recommend what is popular."""
        given = parameters(req, ("n", "model", "filter"))
        words = listed(given, "filter")
        n = whole(given, "n", DEFAULT_N, 1, MAX_N)
        recommender = self._models.find(given.get("model"))
        send(resp, recommender.popular(n, request_id(req), filters.parse(words) if words else None))

    on_head = on_get
