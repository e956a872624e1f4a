"""JSON Schemas of what the API reads and writes: from the types, with the bounds that the checks hold."""

import inspect
from typing import Any, Final

import msgspec

from sluice.filters import MAX_WORDS, Filter
from sluice.records import MAX_FEATURES, MAX_ID_BYTES, Forget, Interaction, Item, User
from sluice.web.problems import Problem
from sluice_recommender.api.answers import Accepted, ItemMetadata, Recommendations, SimilarUsers
from sluice_recommender.api.asking import Ask
from sluice_recommender.api.intake import MAX_BATCH, MIN_TS
from sluice_recommender.api.similar import HandleAsk
from sluice_recommender.api.users import UserView

_REF: Final = "#/components/schemas/{name}"
_READ: Final = (Interaction, Forget, Item, User, Ask, HandleAsk, Filter)
_WRITTEN: Final = (Recommendations, SimilarUsers, ItemMetadata, UserView, Accepted, Problem)
Schema = dict[str, Any]

_ID: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_BYTES,
    "pattern": r"^[^\u0000-\u001F\u007F]+$",
    "description": f"1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters",
}
_NAMED: Final[dict[str, Schema]] = {
    "Id": _ID,
    "PathId": {
        **_ID,
        "pattern": r"^[^\u0000-\u001F\u007F/]+$",
        "description": "As Id, without '/'; an id with one goes into a body, or a query of its own",
    },
}
ID, PATH_ID = ({"$ref": _REF.format(name=name)} for name in _NAMED)
_WORDS: Final[Schema] = {"type": "array", "items": ID, "maxItems": MAX_FEATURES, "default": []}
_TS: Final[Schema] = {
    "type": "integer",
    "minimum": MIN_TS,
    "description": "Unix milliseconds, at most 24 hours ahead; when the log takes it if left out",
}

_BOUNDS: Final[dict[str, dict[str, Schema]]] = {
    "Interaction": {
        "user_id": ID,
        "item_id": ID,
        "event": {**ID, "default": "view"},
        "value": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6, "default": 1.0},
        "ts": _TS,
        **dict.fromkeys(("session_id", "event_id", "request_id"), ID),
    },
    "Forget": {"user_id": ID, "control": {"const": "forget"}},
    "Item": {"item_id": ID, "features": _WORDS},
    "User": {"user_id": ID, "features": _WORDS},
    "Ask": {
        "user_id": ID,
        "items": {"items": ID},
        "features": {"items": ID},
        "exclude": {"items": ID},
        "session_id": ID,
        "model": ID,
    },
    "HandleAsk": {
        "user_handle": {"anyOf": [ID, {"type": "integer", "minimum": 0, "maximum": (1 << 53) - 1}]},
        "model_handle": ID,
    },
    "Filter": {key: {"items": ID, "maxItems": MAX_WORDS} for key in ("all", "any", "none")},
}
"""What the types leave open and the checks do not: a whole schema of a field, or what is added to its own."""

_WHOLE: Final = {"type", "const", "anyOf", "$ref"}


def ref(kind: type) -> Schema:
    """Return the reference to a type's schema."""
    return {"$ref": _REF.format(name=kind.__name__)}


def batch(kind: type, *others: type) -> Schema:
    """Return the schema of one record or a list of them."""
    one = ref(kind) if not others else {"anyOf": [ref(each) for each in (kind, *others)]}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH}]}


def deletion() -> Schema:
    """Return the schema of ``{"delete": [ids]}``."""
    ids = {"type": "array", "items": ID, "minItems": 1, "maxItems": MAX_BATCH}
    return {
        "type": "object",
        "properties": {"delete": ids},
        "required": ["delete"],
        "additionalProperties": False,
    }


def without(kind: type, name: str) -> Schema:
    """Return the schema of a body that is put under an id: the field ``name`` may repeat it."""
    whole = components()[kind.__name__]
    return {**whole, "required": [each for each in whole["required"] if each != name]}


def components() -> dict[str, Schema]:
    """Return all schemas by name."""
    _, schemas = msgspec.json.schema_components((*_READ, *_WRITTEN), ref_template=_REF)
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(schema.get("description", "")).replace("``", "`")
        for field, bounds in _BOUNDS.get(name, {}).items():
            schema["properties"][field] = _bounded(schema["properties"][field], bounds)
    for kind in _READ:
        schemas[kind.__name__]["additionalProperties"] = False
    schemas["Forget"]["required"] = ["user_id", "control"]
    schemas["Filter"]["minProperties"] = 1
    schemas.update(_NAMED)
    metadata = {"anyOf": [ref(ItemMetadata), {"type": "null"}]}
    schemas["RecommendedItem"]["properties"]["metadata"] = metadata
    schemas["Ask"]["properties"]["filter"] = _filter()
    return schemas


def _filter() -> Schema:
    """Return how a filter may be written; it names 1 to 16 words in all."""
    words = {"type": "array", "items": ID, "minItems": 1, "maxItems": MAX_WORDS}
    return {"anyOf": [ID, words, ref(Filter), {"type": "null"}]}


def _bounded(schema: Schema, bounds: Schema) -> Schema:
    """Return a field's schema within ``bounds``, still with null where that was allowed."""
    if _WHOLE.isdisjoint(bounds):
        return {**schema, **bounds}
    nullable = {"type": "null"} in schema.get("anyOf", ())
    return {"anyOf": [bounds, {"type": "null"}]} if nullable else bounds
