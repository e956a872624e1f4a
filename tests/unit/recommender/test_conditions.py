"""Conditions on ETags."""

import pytest

from sluice.errors import InvalidRecord
from sluice.records import Item
from sluice_recommender.api.conditions import content, failed_condition, tag, unchanged


def test_a_tag_follows_the_content_alone():
    first = tag(content(Item(item_id="a", title="A")))
    assert first == tag(content(Item(title="A", item_id="a")))
    assert first != tag(content(Item(item_id="a", title="B")))
    assert first.startswith('"')
    assert first.endswith('"')


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "current", "refused"),
    [
        (None, None, '"a"', False),
        ('"a"', None, '"a"', False),
        ('"b", "a"', None, '"a"', False),
        ('"b","a"', None, '"a"', False),
        ('"b"', None, '"a"', True),
        ('W/"a"', None, '"a"', True),  # a strong comparison
        ('"a"', None, None, True),
        ("*", None, '"a"', False),
        ("*", None, None, True),
        (None, "*", '"a"', True),
        (None, "*", None, False),
        (None, '"a"', '"a"', True),
        (None, 'W/"a"', '"a"', True),
        (None, '"b"', '"a"', False),
        ('"x,y"', None, '"x,y"', False),
    ],
)
def test_failed_condition(if_match, if_none_match, current, refused):
    found = failed_condition(if_match, if_none_match, current)
    assert (found is not None) is refused
    if found:
        assert found.status == 412


@pytest.mark.parametrize(
    ("header", "same"), [(None, False), ('"a"', True), ('W/"a"', True), ("*", True), ('"b"', False)]
)
def test_unchanged(header, same):
    assert unchanged(header, '"a"') is same


@pytest.mark.parametrize("header", ["", "a", '"a', '"a" "b"', "**", '"a", *', '"ä"'])
def test_a_header_that_is_no_condition_is_refused(header):
    with pytest.raises(InvalidRecord, match="If-None-Match"):
        unchanged(header, '"a"')
    with pytest.raises(InvalidRecord, match="If-Match"):
        failed_condition(header, None, None)
    with pytest.raises(InvalidRecord, match="If-None-Match"):
        failed_condition("*", header, None)
