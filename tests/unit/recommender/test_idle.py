"""The API before any model is there."""

import pytest
from falcon.testing import TestClient

from sluice.web.problems import PROBLEM_JSON
from sluice_recommender.api.idle import create_app
from sluice_recommender.api.operations import OPERATIONS

SERVED = ("/healthz", "/readyz", "/metrics", "/openapi.json")


@pytest.fixture(scope="module")
def client():
    return TestClient(create_app())


@pytest.mark.parametrize("path", SERVED)
def test_what_needs_no_model_is_served(client, path):
    assert client.simulate_get(path).status_code == 200


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.path not in SERVED], ids=str)
def test_all_else_says_what_is_missing_and_what_to_do(client, operation):
    path = operation.path.replace("{", "").replace("}", "")
    answer = client.simulate_request(operation.method.upper(), path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM_JSON)
    assert answer.json["type"] == "urn:sluice:no-model"
    assert "apply the RecommenderModel" in answer.json["detail"]
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Retry-After"]


def test_what_is_no_path_of_the_api_is_not_found(client):
    assert client.simulate_get("/v2/recommendations").status_code == 404
