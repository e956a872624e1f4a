"""Resources that recommend: for users and sessions, like an item, popular."""

import falcon
import msgspec

from sluice.items import Items
from sluice.records import check_id
from sluice.web.bodies import number, read_typed, send
from sluice.web.problems import problem
from sluice_recommender.api.answers import Recommendations
from sluice_recommender.api.asking import MAX_N, Ask, check
from sluice_recommender.api.models import Models
from sluice_recommender.api.pods import UnknownItem

_ASK = msgspec.json.Decoder(Ask)


def _n(req: falcon.Request) -> int:
    return number(req, "n", 10, 1, MAX_N)


class UserRecommendations:
    """``GET /v1/recommendations/{user_id}?n=10&model=&exclude=a,b``.

    200; 400 for n outside 1..100, an unusable id, or filter (not available yet); 404 for an unknown model.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Recommend to a user."""
        excluded = req.get_param("exclude")
        filtered = msgspec.Raw(b"null") if req.has_param("filter") else None
        ask = Ask(
            user_id=user_id,
            n=_n(req),
            exclude=excluded.split(",") if excluded else [],
            model=req.get_param("model"),
            filter=filtered,
        )
        check(ask)
        send(resp, self._models.find(ask.model).recommend(ask))


class RecommendationsResource:
    """``POST /v1/recommendations`` with an :class:`~sluice_recommender.api.asking.Ask`.

    200; 400 naming the field that is out of bounds; 404 for an unknown model; 413 above 1 MiB.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Recommend to a user, a session, or features."""
        ask = read_typed(req, _ASK)
        check(ask)
        send(resp, self._models.find(ask.model).recommend(ask))


class SimilarItems:
    """``GET /v1/items/{item_id}/similar?n=10&model=``.

    200, of strategy ``similar``, or ``popular`` for an item in the catalogue that the snapshot lacks; 404 for
    an item that neither has.
    """

    def __init__(self, models: Models, items: Items) -> None:
        self._models, self._items = models, items

    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: str) -> None:
        """Recommend items like one."""
        check_id(item_id, "item_id")
        send(resp, self._answer(req, item_id))

    def _answer(self, req: falcon.Request, item_id: str) -> Recommendations:
        recommender = self._models.find(req.get_param("model"))
        try:
            return recommender.similar(item_id, _n(req))
        except UnknownItem as error:
            if not self._items.get([item_id]):
                raise problem(404, "unknown-item", "item_id is unknown; PUT the item first") from error
            return recommender.popular(_n(req))


class PopularItems:
    """``GET /v1/popular?n=10&model=``: 200, the most popular items of the model's source."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Recommend what is popular."""
        send(resp, self._models.find(req.get_param("model")).popular(_n(req)))
