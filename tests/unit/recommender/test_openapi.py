"""The description says what the app does: routes, methods, scopes, references, examples, bounds."""

import re

import msgspec
import pytest

from sluice.errors import InvalidRecord
from sluice.events import EventLog
from sluice.topics import topics_of
from sluice_recommender.api import intake
from sluice_recommender.api.access import Access
from sluice_recommender.api.app import Data, routes_of
from sluice_recommender.api.asking import Ask
from sluice_recommender.api.documents import typed
from sluice_recommender.api.keys import Keys, Policy
from sluice_recommender.api.openapi import document
from sluice_recommender.api.operations import OPERATIONS
from sluice_recommender.api.similar import HandleAsk

DOCUMENT = document()
PROBES = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def routes():
    data = Data(EventLog, topics_of("shop"), None, None)
    return routes_of(None, data, Access(Policy(), Keys), lambda: 0.0)


def _methods(resource):
    return {name.removeprefix("on_") for name in dir(resource) if name.startswith("on_")}


def test_every_route_and_method_is_described_and_no_other(routes):
    described = {path: set(methods) for path, methods in DOCUMENT["paths"].items() if path not in PROBES}
    assert described == {path: _methods(resource) - {"head"} for path, resource in routes.items()}
    assert set(DOCUMENT["paths"]) >= PROBES


def test_every_method_of_a_resource_has_the_scope_that_is_described(routes):
    for operation in OPERATIONS:
        if operation.path in PROBES:
            continue
        scopes = routes[operation.path].scopes
        assert scopes.get(operation.method.upper()) == operation.scope, operation
    for path, resource in routes.items():
        if path != "/openapi.json":
            assert {method.upper() for method in _methods(resource)} == set(resource.scopes), path


def test_references_resolve():
    text = msgspec.json.encode(DOCUMENT).decode()
    names = set(re.findall(r'"#/components/schemas/([^"]*)"', text))
    assert names == set(DOCUMENT["components"]["schemas"])


def test_operations_have_names_of_their_own():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_no_word_of_the_inside_is_described():
    assert "msgspec" not in msgspec.json.encode(DOCUMENT).decode()


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.example is not None], ids=lambda o: o.name
)
def test_examples_are_accepted(operation):
    example = operation.example
    if operation.path.endswith("_id}"):
        example = {operation.path.partition("{")[2].rstrip("}"): "x", **example}
    parse = {
        "recommendations": lambda each: typed(each, Ask, "n"),
        "data in": lambda each: intake.interaction(each, 0),
        "items": intake.item,
        "users": intake.user,
        "replaced systems": lambda each: typed(each, HandleAsk, "user_handle"),
    }[operation.tag]
    assert intake.parse_batch(example, parse)


@pytest.mark.parametrize("name", ["Interaction", "Item", "User"])
def test_bounds_are_those_of_the_checks(name):
    schema = DOCUMENT["components"]["schemas"][name]
    parse = {
        "Interaction": lambda each: intake.interaction(each, 0),
        "Item": intake.item,
        "User": intake.user,
    }[name]
    whole = dict.fromkeys(schema["required"], "x")
    assert parse(whole)
    for field in schema["required"]:
        with pytest.raises(InvalidRecord, match=field):
            parse({key: value for key, value in whole.items() if key != field})
    with pytest.raises(InvalidRecord, match="unknown"):
        parse({**whole, "other": 1})
    assert set(schema["properties"]) >= set(whole)
    assert schema["additionalProperties"] is False
