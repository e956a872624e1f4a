"""The overlay against a plain model: dictionaries of what the last record of each item says."""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.events import Partition, StoredRecord
from sluice.filters import Filter, parse, words_of
from sluice.overlay import Forgotten, Overlay
from sluice.records import Item, encode

PARTITION = Partition("shop.items", 0)
IDS = [f"i{number}" for number in range(12)]
WORDS = ["genre:Comedy", "genre:Drama", "lang:en", "hit:true", "year:1995"]


def record(offset, key, value, partition=PARTITION):
    return StoredRecord(partition, offset, 0, key.encode() if isinstance(key, str) else key, value)


def records(changes):
    """Return the records of items, tombstones (an id alone) and raw (key, value)."""
    made = []
    for offset, change in enumerate(changes):
        if isinstance(change, Item):
            made.append(record(offset, change.item_id, encode(change)))
        elif isinstance(change, str):
            made.append(record(offset, change, None))
        else:
            made.append(record(offset, *change))
    return made


ITEMS = st.builds(
    Item,
    item_id=st.sampled_from(IDS),
    features=st.lists(st.sampled_from(WORDS), max_size=3).map(tuple),
    attributes=st.dictionaries(
        st.sampled_from(["lang", "hit", "year"]), st.sampled_from(["en", True, 1995, 1.5])
    ),
    available=st.booleans(),
)
MALFORMED = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from([b"", b"{", b"[]", b'{"item_id":""}', b'{"item_id":"another"}', b"\xff"]),
)
CHANGES = st.lists(ITEMS | st.sampled_from(IDS) | MALFORMED, max_size=40)
LISTED = st.lists(st.sampled_from([*WORDS, "unheard:of"]), max_size=3).map(tuple)
FILTERS = st.builds(Filter, all=LISTED, any=LISTED, none=LISTED)


def latest(changes):
    """Return each known item's last readable record, None for a tombstone."""
    known = {}
    for change in changes:
        if isinstance(change, Item):
            known[change.item_id] = change
        elif isinstance(change, str):
            known[change] = None
    return known


def passes(words, wanted):
    return (
        all(word in words for word in wanted.all)
        and (not wanted.any or any(word in words for word in wanted.any))
        and not any(word in words for word in wanted.none)
    )


@given(changes=CHANGES, wanted=FILTERS)
def test_it_answers_as_the_last_record_of_each_item_says(changes, wanted):
    overlay, known = Overlay(), latest(changes)
    overlay.apply(records(changes))
    test = overlay.test(wanted)
    for item_id in [*IDS, "never-heard-of"]:
        item = known.get(item_id)
        hidden = item_id in known and (item is None or not item.available)
        expected = not hidden and passes(words_of(item) if item else (), wanted)
        assert overlay.matches(item_id, None) is not hidden
        assert overlay.matches(item_id, wanted) is expected
        assert test(item_id) is expected
        assert overlay.matches(item_id, None) is not hidden
    matching = {item_id for item_id in known if overlay.matches(item_id, wanted)}
    assert sorted(overlay.matching(wanted)) == sorted(matching)
    assert sorted(overlay.matching(None)) == sorted(
        item_id for item_id in known if overlay.matches(item_id, None)
    )
    assert len(overlay) == len(known)
    assert overlay.malformed == sum(isinstance(change, tuple) for change in changes)


@given(changes=CHANGES)
def test_a_replay_ends_where_the_first_reading_ended(changes):
    once, twice = Overlay(), Overlay()
    once.apply(records(changes))
    twice.apply(records(changes))
    twice.apply(records(changes))
    for word in WORDS:
        wanted = parse(word)
        assert sorted(once.matching(wanted)) == sorted(twice.matching(wanted))
    assert list(once.hidden()) == list(twice.hidden())
    assert once.position == twice.position == ({0: len(changes)} if changes else {})


def test_words_that_nothing_carries_any_more_leave_nothing_behind():
    overlay = Overlay()
    for price in range(500):
        overlay.apply(
            records([Item(item_id="a", attributes={"price": price}), Item(item_id="b", features=("g",))])
        )
    assert len(overlay._postings) == len(overlay._postings._names) - len(overlay._postings._free) == 2
    assert len(overlay._postings._names) < 5
    assert list(overlay.matching(parse("price:499"))) == ["a"]
    assert list(overlay.matching(parse("price:498"))) == []


def test_a_full_overlay_takes_no_new_items_and_keeps_the_known_up_to_date():
    overlay = Overlay(capacity=2)
    overlay.apply(records([Item(item_id="a"), Item(item_id="b"), Item(item_id="c", available=False), "d"]))
    assert (len(overlay), overlay.refused) == (2, 2)
    assert overlay.matches("c", None), "unknown items are"
    overlay.apply(records(["a", Item(item_id="b", features=("g",))]))
    assert not overlay.matches("a", None)
    assert list(overlay.matching(parse("g"))) == ["b"]
    assert overlay.refused == 2


def test_positions_are_kept_by_partition():
    overlay = Overlay()
    overlay.apply([record(4, "a", None), record(7, "b", b"{", Partition("shop.items", 1))])
    assert overlay.position == {0: 5, 1: 8}


def test_a_key_that_is_no_text_is_passed_over():
    overlay, forgotten = Overlay(), Forgotten()
    overlay.apply([record(0, b"\xff", None), record(1, "a", None)])
    forgotten.apply([record(0, b"\xff", None), record(1, "a", None)])
    assert (overlay.malformed, len(overlay), len(forgotten)) == (1, 1, 1)


@pytest.fixture
def hasty_threads():
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_readers_see_whole_records_while_one_writes(hasty_threads):
    """Every item carries one of two words at any time, so none is ever found that carries neither."""
    overlay, stopping, found = Overlay(), threading.Event(), []
    neither = parse({"all": ["n"], "none": ["even:true", "even:false"]})

    def put(number, even):
        item = Item(item_id=f"i{number}", features=("n",), attributes={"even": even})
        overlay.apply([record(number, item.item_id, encode(item))])

    def read():
        while not stopping.is_set():
            found.extend(overlay.matching(neither))
            found.extend(filter(overlay.test(neither), ["i1", "i2"]))
            if overlay.matches("i1", neither):
                found.append("i1")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(10_000):
        put(turn % 3, turn % 2 == 0)
    stopping.set()
    for reader in readers:
        reader.join(10)
    assert found == []


def test_a_user_is_forgotten_until_there_is_a_record_again():
    forgotten = Forgotten(capacity=2)
    forgotten.apply(records(["ann", ("bob", b"{}"), "cid", "dan"]))
    assert [each for each in ("ann", "bob", "cid", "dan") if forgotten.is_hidden(each)] == ["ann", "cid"]
    assert forgotten.refused == 1
    forgotten.apply(records([("ann", b"{}")]))
    assert not forgotten.is_hidden("ann")
    forgotten.apply(records(["ann"]))
    assert forgotten.is_hidden("ann")
