"""Every operation of the public API: path, method, scope, what it takes and what it may answer."""

from typing import Any, Final, NamedTuple

from sluice.filters import MAX_WORDS
from sluice.records import Forget, Interaction, Item, User
from sluice_recommender.api import schemas
from sluice_recommender.api.answers import Accepted, Recommendations, SimilarUsers
from sluice_recommender.api.asking import MAX_EXCLUDE, MAX_N, Ask
from sluice_recommender.api.conditions import CONDITION
from sluice_recommender.api.keys import Scope
from sluice_recommender.api.recommendations import DEFAULT_N
from sluice_recommender.api.schemas import ID, Schema
from sluice_recommender.api.similar import HandleAsk
from sluice_recommender.api.users import UserView


class Operation(NamedTuple):
    """One method of one path; ``errors`` beside those that ``scope`` and ``body`` bring."""

    path: str
    method: str
    name: str
    tag: str
    summary: str
    answer: Schema | None = None
    scope: Scope | None = None
    body: Schema | None = None
    example: Any = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    status: int = 200
    errors: tuple[int, ...] = ()
    tagged: bool = False
    media: str = "application/json"


def _words(most: int) -> Schema:
    """Return the schema of a comma separated list. Not ``type: array``: one word and a list of it are written alike."""
    one = r"[^\u0000-\u001F\u007F,]+"
    return {"type": "string", "pattern": f"^{one}(,{one})*$", "description": f"At most {most} words"}


def _batch_or_deletion(kind: type) -> Schema:
    return {"anyOf": [*schemas.batch(kind)["anyOf"], schemas.deletion()]}


_WHOLE: Final = {"type": "integer", "minimum": 1, "maximum": MAX_N, "default": DEFAULT_N}
_TAGS: Final = {"schema": {"type": "string", "pattern": CONDITION}, "example": '"4f0c"'}
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "user_id": {"schema": ID, "required": True},
    "item_id": {"schema": ID, "required": True},
    "n": {"schema": _WHOLE, "description": "How many"},
    "model": {"schema": ID, "description": "<namespace>.<name>, or the name where that is unique"},
    "exclude": {
        "schema": _words(MAX_EXCLUDE),
        "description": "Ids of items not to answer with, comma separated",
    },
    "filter": {
        "schema": _words(MAX_WORDS),
        "description": "Words an item must have, all of them, comma separated",
    },
    "If-Match": {**_TAGS, "description": "Write only if GET shows one of these ETags"},
    "If-None-Match": {
        **_TAGS,
        "description": "GET: 304 if it shows one of these; * on a write: only if there is none",
    },
}

_RECOMMENDED, _ACCEPTED = schemas.ref(Recommendations), schemas.ref(Accepted)
_SIMILAR_USERS: Final = schemas.ref(SimilarUsers)
_TAKEN: Final[dict[str, Any]] = {"answer": _ACCEPTED, "status": 202, "errors": (503,)}
_CONDITIONAL: Final[dict[str, Any]] = {
    **_TAKEN,
    "headers": ("If-Match", "If-None-Match"),
    "errors": (412, 503),
    "scope": "admin",
}
_ONE_ITEM: Final[dict[str, Any]] = {
    "answer": schemas.ref(Item),
    "scope": "read",
    "headers": ("If-None-Match",),
    "errors": (404, 503),
    "tagged": True,
}
_ONE_USER: Final[dict[str, Any]] = {"answer": schemas.ref(UserView), "scope": "admin", "errors": (404, 503)}
_LIKE: Final[dict[str, Any]] = {
    "answer": _RECOMMENDED,
    "scope": "read",
    "query": ("n", "model", "filter"),
    "errors": (404, 503),
}
_POPULAR: Final[dict[str, Any]] = {**_LIKE, "errors": (404,)}
_ITEM: Final = {"title": "Heat", "features": ["genre:Crime"], "attributes": {"year": 1995}}
_USER: Final = {"features": ["country:de"], "interests": {"python": 3}}

OPERATIONS: Final = (
    Operation(
        "/v1/recommendations/{user_id}", "get", "recommendToUser", "recommendations", "Recommend to a user",
        _RECOMMENDED, "read", query=("n", "model", "exclude", "filter"), errors=(404,),
    ),
    Operation(
        "/v1/recommendations", "post", "recommend", "recommendations",
        "Recommend to a user, to a session's items, or for features",
        _RECOMMENDED, "read", schemas.ref(Ask), {"items": ["m1", "m2"], "n": 3}, errors=(404,),
    ),
    Operation("/v1/items/{item_id}/similar", "get", "similarItems", "recommendations", "Items like one", **_LIKE),
    Operation(
        "/v1/users/{user_id}/similar", "get", "similarUsers", "recommendations", "Users like one",
        _SIMILAR_USERS, "read", query=("n", "model"), errors=(404, 503),
    ),
    Operation("/v1/popular", "get", "popularItems", "recommendations", "The most popular items", **_POPULAR),
    Operation(
        "/v1/interactions", "post", "addInteractions", "data in",
        "Take one interaction in or up to 1,000; a forget among them needs scope admin",
        scope="write", body=schemas.batch(Interaction, Forget),
        example={"user_id": "ann", "item_id": "m1", "event": "cart"}, **_TAKEN,
    ),
    Operation(
        "/v1/items", "get", "getItemById", "items", "One item whose id does not fit a path",
        query=("item_id",), **_ONE_ITEM,
    ),
    Operation(
        "/v1/items", "post", "putItems", "items", "Insert or replace one item or up to 1,000, or delete up to 1,000",
        scope="admin", body=_batch_or_deletion(Item), example=[{"item_id": "m1", **_ITEM}], **_TAKEN,
    ),
    Operation("/v1/items/{item_id}", "get", "getItem", "items", "One item", **_ONE_ITEM),
    Operation(
        "/v1/items/{item_id}", "put", "putItem", "items", "Insert or replace one item",
        body=schemas.without(Item, "item_id"), example=_ITEM, tagged=True, **_CONDITIONAL,
    ),
    Operation("/v1/items/{item_id}", "delete", "deleteItem", "items", "Delete one item", **_CONDITIONAL),
    Operation(
        "/v1/users", "get", "getUserById", "users", "What is known of a user whose id does not fit a path",
        query=("user_id",), **_ONE_USER,
    ),
    Operation(
        "/v1/users", "post", "putUsers", "users", "Describe one user or up to 1,000, or forget up to 1,000",
        scope="admin", body=_batch_or_deletion(User), example={"user_id": "ann", **_USER}, **_TAKEN,
    ),
    Operation("/v1/users/{user_id}", "get", "getUser", "users", "What is known of a user", **_ONE_USER),
    Operation(
        "/v1/users/{user_id}", "put", "putUser", "users", "Describe a user",
        scope="admin", body=schemas.without(User, "user_id"), example=_USER, **_TAKEN,
    ),
    Operation("/v1/users/{user_id}", "delete", "forgetUser", "users", "Forget a user", scope="admin", **_TAKEN),
    Operation("/api/v1/popular", "get", "popularItemsOld", "replaced systems", "As /v1/popular", **_POPULAR),
    Operation(
        "/api/v1/recommendations/{item_id}", "get", "similarItemsOld", "replaced systems",
        "As /v1/items/{item_id}/similar", **_LIKE,
    ),
    Operation(
        "/similar-users/", "post", "similarUsersOld", "replaced systems", "10 users like one",
        _SIMILAR_USERS, "read", schemas.ref(HandleAsk), {"user_handle": "ann"}, errors=(404, 503),
    ),
    Operation("/openapi.json", "get", "describe", "service", "This description", {"type": "object"}),
    Operation("/healthz", "get", "alive", "service", "The process answers", {"type": "object"}),
    Operation("/readyz", "get", "ready", "service", "Requests may come", {"type": "object"}, errors=(503,)),
    Operation("/metrics", "get", "metrics", "service", "Prometheus text", {"type": "string"}, media="text/plain"),
)  # fmt: skip
