"""``/openapi.json``: OpenAPI 3.1, from the table of operations and the types they read and write."""

import re
from http import HTTPStatus
from typing import Any, ClassVar, Final

import falcon
import msgspec

from sluice import __version__
from sluice.web.bodies import MAX_BODY_BYTES
from sluice.web.problems import PROBLEM_JSON, Problem
from sluice.web.request_ids import HEADER, USABLE
from sluice_recommender.api.keys import ADMIN
from sluice_recommender.api.operations import OPERATIONS, PARAMETERS, Operation
from sluice_recommender.api.schemas import PATH_ID, Schema, components, ref

_SCHEME: Final = "key"
_BODY_ERRORS: Final = (413, 415)
_LONG_LINE: Final = 414
"""Refused before the request has an id."""
_SCOPE_ERRORS: Final = (400, 401, 403)


def document() -> dict[str, Any]:
    """Return the whole description."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice recommender",
            "version": __version__,
            "description": "Recommendations, and the data they are learned from.",
        },
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {
                _SCHEME: {"type": "http", "scheme": "bearer", "description": "A key of sluice keys create"}
            },
            "parameters": {
                HEADER: {
                    "name": HEADER,
                    "in": "header",
                    "description": "1 to 128 printable ASCII characters without blanks; others are not taken over",
                    "schema": {"type": "string"},
                }
            },
            "headers": {
                HEADER: {
                    "description": "The request's id; the client's own if it sent a usable one",
                    "required": True,
                    "schema": {"type": "string", "pattern": USABLE},
                }
            },
        },
    }


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "security": [],
    }
    if operation.scope is not None:
        needed: list[dict[str, Any]] = [{_SCHEME: []}]
        described["security"] = needed if operation.scope == ADMIN else [{}, *needed]
        described["description"] = f"Scope {operation.scope}."
    if operation.body is not None:
        content = {"schema": operation.body, "example": operation.example}
        described["requestBody"] = {
            "required": True,
            "description": f"At most {MAX_BODY_BYTES} bytes",
            "content": {"application/json": content},
        }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = re.findall(r"{(\w+)}", operation.path)
    return [
        *({"name": name, "in": "path", "required": True, "schema": PATH_ID} for name in in_path),
        *({"name": name, "in": "query", **PARAMETERS[name]} for name in operation.query),
        *({"name": name, "in": "header", **PARAMETERS[name]} for name in operation.headers),
        {"$ref": f"#/components/parameters/{HEADER}"},
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    answered = {operation.media: {"schema": operation.answer}}
    headers: dict[str, Any] = _request_id()
    if operation.tagged:
        headers["ETag"] = {"required": True, "schema": {"type": "string"}}
    responses = {
        str(operation.status): {
            "description": HTTPStatus(operation.status).phrase,
            "headers": headers,
            "content": answered,
        }
    }
    if operation.tagged and operation.method == "get":
        responses["304"] = {"description": "The client has it", "headers": headers}
    for status in _errors(operation):
        responses[str(status)] = _problem(status)
    return responses


def _errors(operation: Operation) -> list[int]:
    found = set(operation.errors)
    if operation.scope is not None:
        found.update(_SCOPE_ERRORS)
    if operation.body is not None:
        found.update(_BODY_ERRORS)
    if operation.query or "{" in operation.path:
        found.add(_LONG_LINE)
    return sorted(found)


def _problem(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {} if status == _LONG_LINE else _request_id()
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    content: Schema = {PROBLEM_JSON: {"schema": ref(Problem)}}
    return {"description": HTTPStatus(status).phrase, "headers": headers, "content": content}


def _request_id() -> dict[str, Any]:
    return {HEADER: {"$ref": f"#/components/headers/{HEADER}"}}


class OpenApi:
    """``GET /openapi.json``: 200."""

    scopes: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self._data = msgspec.json.encode(document())

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Describe this API."""
        resp.data = self._data
        resp.content_type = falcon.MEDIA_JSON

    on_head = on_get
