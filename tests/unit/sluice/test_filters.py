"""Filters: how they are written, and which words an item has."""

from math import inf, nan

import pytest

from sluice.errors import InvalidRecord
from sluice.filters import Filter, parse, words_of
from sluice.records import Item


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("genre:Comedy", Filter(all=("genre:Comedy",))),
        (["a", "b"], Filter(all=("a", "b"))),
        ({"any": ["a", "b"], "none": ["c"]}, Filter(any=("a", "b"), none=("c",))),
        ({"all": ["a"]}, Filter(all=("a",))),
        (Filter(none=("c",)), Filter(none=("c",))),
        (["é" * 128] * 16, Filter(all=("é" * 128,) * 16)),
    ],
)
def test_a_filter_is_a_word_a_list_or_an_object(document, expected):
    assert parse(document) == expected


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "1 to 16 words, not 0"),
        ({}, "1 to 16 words, not 0"),
        ({"all": [], "none": []}, "1 to 16 words, not 0"),
        (["a"] * 17, "1 to 16 words, not 17"),
        ({"all": ["a"] * 9, "any": ["a"] * 8}, "not 17"),
        ("", "filter is empty"),
        (["a", ""], "filter is empty"),
        ("é" * 129, "256 bytes"),
        ("a\nb", "control characters"),
        ("\ud800", "UTF-8"),
        (7, "word, a list of words or an object"),
        (None, "word, a list of words or an object"),
        (["a", 7], "str"),
        ({"every": ["a"]}, "every"),
        ({"all": "a"}, "all"),
        ({"all": None}, "all"),
        (Filter(), "not 0"),
    ],
)
def test_an_unusable_filter_is_refused_with_its_fix(document, words):
    with pytest.raises(InvalidRecord, match=words) as refused:
        parse(document)
    assert refused.value.reason == "bad-filter"
    assert "filter" in str(refused.value)


def test_words_are_features_and_scalar_attributes():
    attributes = {
        "lang": "en",
        "price": 12,
        "hit": True,
        "old": False,
        "rating": 4.5,
        "year": 1995.0,
        "below": -0.0,
        "huge": 1e300,
        "endless": inf,
        "nothing": nan,
        "none": None,
        "tags": ["x"],
        "nested": {"a": 1},
        "empty": "",
    }
    item = Item(item_id="a", features=("genre:Comedy", "lang:en"), attributes=attributes)
    scalars = {"price:12", "hit:true", "old:false", "rating:4.5", "year:1995", "below:0", "empty:"}
    assert words_of(item) == {"genre:Comedy", "lang:en", *scalars}


def test_words_longer_than_a_filter_may_name_are_none():
    item = Item(item_id="a", attributes={"short": "é" * 125, "long": "é" * 126, "story": "x" * 5_000})
    assert words_of(item) == {"short:" + "é" * 125}
