"""The WSGI app of the public API, from its collaborators."""

from typing import Any

import falcon

from sluice.events import EventLog
from sluice.items import Items
from sluice.topics import Topics
from sluice.web import probes, problems
from sluice_recommender.api.intake import InteractionsResource, ItemResource, ItemsResource
from sluice_recommender.api.models import Models, UnknownModel
from sluice_recommender.api.openapi import OpenApi
from sluice_recommender.api.recommendations import (
    PopularItems,
    RecommendationsResource,
    SimilarItems,
    UserRecommendations,
)


def create_app(
    models: Models, log: EventLog, topics: Topics, items: Items, ready: probes.Reason
) -> falcon.App[Any, Any]:
    """Return the app: records go to ``topics`` of ``log``, recommendations come from ``models``."""
    app = falcon.App(middleware=[probes.Measured()])
    problems.install(app)
    app.add_error_handler(UnknownModel, _unknown_model)
    similar, popular, intake = SimilarItems(models, items), PopularItems(models), ItemsResource(log, topics)
    app.add_route("/v1/recommendations/{user_id}", UserRecommendations(models))
    app.add_route("/v1/recommendations", RecommendationsResource(models))
    app.add_route("/v1/items/{item_id}/similar", similar)
    app.add_route("/v1/items/{item_id}", ItemResource(items, intake))
    app.add_route("/v1/items", intake)
    app.add_route("/v1/popular", popular)
    app.add_route("/v1/interactions", InteractionsResource(log, topics))
    app.add_route("/api/v1/popular", popular)
    app.add_route("/api/v1/recommendations/{item_id}", similar)
    app.add_route("/openapi.json", OpenApi())
    probes.add_probes(app, ready)
    return app


def _unknown_model(_req: Any, _resp: Any, error: UnknownModel, _params: Any) -> None:
    raise problems.problem(404, "unknown-model", str(error)) from error
