"""msgspec's complaints in words for people."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from sluice.wording import sentence


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    ts: int


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, Meta(ge=1, le=9)] = 1
    least: Annotated[int, Meta(ge=1)] = 1
    share: Annotated[float, Meta(le=1.0)] = 1.0
    name: Annotated[str, Meta(min_length=1, max_length=3)] = "a"
    note: str | None = None
    words: Annotated[list[str], Meta(max_length=2)] = []
    pair: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2)] = (1,)
    weights: dict[str, float] = {}
    inner: list[Inner] = []
    on: bool = True
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the body must be an object; correct it"),
        ({"n": 0}, "n must be a whole number from 1 to 9; correct it"),
        ({"n": "1"}, "n must be a whole number from 1 to 9; correct it"),
        ({"least": 0}, "least must be a whole number of at least 1; correct it"),
        ({"share": 2}, "share must be a number of at most 1.0; correct it"),
        ({"name": ""}, "name must be a string of 1 to 3 characters; correct it"),
        ({"note": 1}, "note must be a string or null; correct it"),
        ({"words": ["a"] * 3}, "words must be a list of at most 2 strings; correct it"),
        ({"words": ["a", 1]}, "words[1] must be a string; correct it"),
        ({"words": {}}, "words must be a list of at most 2 strings; correct it"),
        ({"pair": []}, "pair must be a list of 1 to 2 whole numbers; correct it"),
        ({"weights": {"a": "x"}}, "weights[] must be a number; correct it"),
        ({"inner": [{"ts": 1}, {"ts": "x"}]}, "inner[1].ts must be a whole number; correct it"),
        ({"inner": [{}]}, "inner[0].ts is missing; add it"),
        ({"inner": [{"ts": 1, "x": 2}]}, "inner[0].x is unknown; leave it out"),
        ({"on": 1}, "on must be true or false; correct it"),
        ({"kind": "c"}, 'kind must be "a" or "b"; correct it'),
        ({"other": 1}, "other is unknown; leave it out"),
    ],
)
def test_sentences(document, said):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(document, Thing)
    assert sentence(caught.value, Thing) == said


def test_the_root_has_a_name():
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(1, list[Thing])
    assert sentence(caught.value, list[Thing], "the file") == "the file must be a list of objects; correct it"
