"""The WSGI app of the public API, from its collaborators."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import falcon

from sluice.events import EventLog
from sluice.items import Items
from sluice.profile import Profiles
from sluice.topics import Topics
from sluice.web import probes, problems
from sluice.web.request_ids import RequestIds
from sluice_recommender.api.access import Access
from sluice_recommender.api.documents import Utf8
from sluice_recommender.api.intake import Intake, InteractionsResource
from sluice_recommender.api.items import ItemResource, ItemsResource
from sluice_recommender.api.models import Models, UnknownModel
from sluice_recommender.api.openapi import OpenApi
from sluice_recommender.api.recommendations import (
    PopularItems,
    RecommendationsResource,
    UserRecommendations,
)
from sluice_recommender.api.recommender import UnknownUser
from sluice_recommender.api.similar import SimilarItems, SimilarUsers, SimilarUsersByHandle
from sluice_recommender.api.users import UserResource, UsersResource


class Data(NamedTuple):
    """What the resources of one source's data read, and the topics they write to.

    So many requests at once as ``patient`` says may wait for a slow log; at least one thread is left for others.
    """

    log: EventLog
    topics: Topics
    items: Items
    profiles: Profiles
    patient: int = 1


def create_app(
    models: Models, data: Data, access: Access, ready: probes.Reason, clock: Callable[[], float] = time.time
) -> falcon.App[Any, Any]:
    """Return the app: records go to the log, recommendations come from ``models``, ``access`` lets through."""
    middleware: list[Any] = [RequestIds(), probes.Measured(), access, Utf8()]
    app = falcon.App(middleware=middleware)
    problems.install(app)
    app.add_error_handler(UnknownModel, _unknown_model)
    app.add_error_handler(UnknownUser, _unknown_user)
    for route, resource in routes_of(models, data, access, clock).items():
        app.add_route(route, resource)
    probes.add_probes(app, ready)
    return app


def routes_of(models: Models, data: Data, access: Access, clock: Callable[[], float]) -> dict[str, object]:
    """Return the resource of each route but the probes."""
    intake = Intake(data.log, data.topics, data.patient)
    similar, popular = SimilarItems(models, data.items), PopularItems(models)
    return {
        "/v1/recommendations/{user_id}": UserRecommendations(models),
        "/v1/recommendations": RecommendationsResource(models),
        "/v1/popular": popular,
        "/v1/items/{item_id}/similar": similar,
        "/v1/users/{user_id}/similar": SimilarUsers(models),
        "/v1/interactions": InteractionsResource(intake, access, clock),
        "/v1/items": ItemsResource(data.items, intake),
        "/v1/items/{item_id}": ItemResource(data.items, intake),
        "/v1/users": UsersResource(data.profiles, intake),
        "/v1/users/{user_id}": UserResource(data.profiles, intake),
        "/api/v1/popular": popular,
        "/api/v1/recommendations/{item_id}": similar,
        "/similar-users/": SimilarUsersByHandle(models),
        "/openapi.json": OpenApi(),
    }


def _unknown_model(_req: Any, _resp: Any, error: UnknownModel, _params: Any) -> None:
    raise problems.problem(404, "unknown-model", str(error)) from error


def _unknown_user(_req: Any, _resp: Any, error: UnknownUser, _params: Any) -> None:
    raise problems.problem(404, "unknown-user", str(error)) from error
