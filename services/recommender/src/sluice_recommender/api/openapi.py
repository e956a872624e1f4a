"""``/openapi.json``: OpenAPI 3.1, its schemas generated from the types the API reads and writes."""

from typing import Any, Final, NamedTuple

import falcon
import msgspec

from sluice import __version__
from sluice.records import Interaction, Item
from sluice.web.bodies import send
from sluice.web.problems import PROBLEM_JSON, Problem
from sluice_recommender.api.answers import Accepted, ItemMetadata, Recommendations
from sluice_recommender.api.asking import MAX_N, Ask
from sluice_recommender.api.intake import MAX_BATCH

_REF: Final = "#/components/schemas/{name}"


class _Operation(NamedTuple):
    path: str
    method: str
    summary: str
    answer: type
    body: type | None = None
    many: bool = False
    query: tuple[str, ...] = ()
    status: int = 200


_OPERATIONS: Final = (
    _Operation(
        "/v1/recommendations/{user_id}",
        "get",
        "Recommend to a user",
        Recommendations,
        query=("n", "model", "exclude"),
    ),
    _Operation(
        "/v1/recommendations", "post", "Recommend to a user, session or features", Recommendations, Ask
    ),
    _Operation("/v1/items/{item_id}/similar", "get", "Items like one", Recommendations, query=("n", "model")),
    _Operation("/v1/popular", "get", "The most popular items", Recommendations, query=("n", "model")),
    _Operation(
        "/v1/interactions", "post", "Take interactions in", Accepted, Interaction, many=True, status=202
    ),
    _Operation("/v1/items", "post", "Insert or replace items", Accepted, Item, many=True, status=202),
    _Operation("/v1/items/{item_id}", "get", "One item", Item),
    _Operation("/v1/items/{item_id}", "put", "Insert or replace one item", Accepted, Item, status=202),
    _Operation("/api/v1/popular", "get", "As /v1/popular", Recommendations, query=("n", "model")),
    _Operation(
        "/api/v1/recommendations/{item_id}",
        "get",
        "As /v1/items/{item_id}/similar",
        Recommendations,
        query=("n", "model"),
    ),
)
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "n": {"schema": {"type": "integer", "minimum": 1, "maximum": MAX_N, "default": 10}},
    "model": {"schema": {"type": "string"}, "description": "<namespace>.<name>, or the name where unique"},
    "exclude": {"schema": {"type": "string"}, "description": "Item ids, comma separated"},
}  # fmt: skip


def document() -> dict[str, Any]:
    """Return the whole description."""
    types = [Recommendations, Ask, Interaction, Item, Accepted, ItemMetadata, Problem]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    metadata = {"anyOf": [{"$ref": _REF.format(name="ItemMetadata")}, {"type": "null"}]}
    schemas["RecommendedItem"]["properties"]["metadata"] = metadata
    del schemas["Ask"]["properties"]["filter"]
    paths: dict[str, Any] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluice recommender", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _describe(operation: _Operation) -> dict[str, Any]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in in_path
            ),
            *({"name": name, "in": "query", **_PARAMETERS[name]} for name in operation.query),
        ],
        "responses": {
            str(operation.status): _content("OK", "application/json", _schema(operation.answer)),
            "default": _content("Problem", PROBLEM_JSON, _schema(Problem)),
        },
    }
    if operation.body is not None:
        schema = _schema(operation.body)
        if operation.many:
            schema = {
                "oneOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_BATCH}]
            }
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _schema(kind: type) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _content(description: str, media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


class OpenApi:
    """``GET /openapi.json``: 200."""

    def __init__(self) -> None:
        self._document = document()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Describe this API."""
        send(resp, self._document)
