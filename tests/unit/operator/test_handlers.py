"""Events: which of them say that a model changed."""

import pytest

from sluice_operator.handlers import version

SEEN = {"uid": "u", "generation": 3, "resourceVersion": "7", "annotations": {"a": "b"}}


def test_a_status_that_was_written_is_no_change():
    assert version("MODIFIED", SEEN | {"resourceVersion": "8", "managedFields": [1]}) == version(None, SEEN)


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 4},
        {"uid": "v"},
        {"annotations": {"a": "c"}},
        {"annotations": {}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_what_people_change_is_one(changed):
    assert version("MODIFIED", SEEN | changed) != version(None, SEEN)


def test_a_deleted_model_is_another():
    assert version("DELETED", SEEN) != version(None, SEEN)
