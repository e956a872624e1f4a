"""Searches over a unit and the overlay, against scoring every row by hand."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.encoder import ConstantEncoder, MeanEncoder, NeighboursEncoder, RecentInteraction
from sluice.events import Partition, StoredRecord
from sluice.filters import parse
from sluice.records import Item, encode
from sluice.snapshot import choice, writer
from sluice.snapshot.content import NeighboursContent, UnitContent, VectorsContent
from sluice.snapshot.unit import Unit
from sluice_faiss import bound as bounds
from sluice_faiss import live as lives
from sluice_faiss.bound import Bound
from sluice_faiss.live import Live
from sluice_faiss.search import Search, search

ROWS, WIDTH = 300, 8
IDS = [f"i{number}" for number in range(ROWS)]
WORDS = ["x", "y", "z"]


def provenance(name):
    return {
        "id": name, "model": "default.home", "parent": None, "algorithm": "GMF", "parameters": {},
        "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0, "offsets": {}, "interactions": 0,
        "metrics": {},
    }  # fmt: skip


def vectors():
    chance = np.random.default_rng(5)
    centres = chance.normal(size=(6, WIDTH))
    return (centres[np.arange(ROWS) % 6] + 0.2 * chance.normal(size=(ROWS, WIDTH))).astype(np.float32)


@pytest.fixture(scope="session")
def units(tmp_path_factory):
    """One unit of each kind of part; ``indexed`` has a Faiss index in spite of its few rows."""
    folder, matrix = tmp_path_factory.mktemp("units"), vectors()
    items = VectorsContent(identifiers=IDS, matrix=matrix)
    users = VectorsContent(identifiers=["ann", "bob", "cid"], matrix=matrix[:3], entity="users")
    encoder = MeanEncoder(matrix.mean(axis=0), decay=0.9)
    alike = np.argsort(-(matrix @ matrix.T), axis=1)[:, 1:11].astype(np.int32)
    neighbours = NeighboursContent(
        identifiers=IDS,
        rows=alike,
        similarities=np.linspace(1, 0.5, 10 * ROWS, dtype=np.float32).reshape(ROWS, 10),
    )
    contents = {
        "flat": UnitContent(parts={"items": items, "users": users}, encoder=encoder),
        "indexed": UnitContent(parts={"items": items}, encoder=encoder),
        "neighbours": UnitContent(parts={"items": neighbours}, encoder=NeighboursEncoder(decay=0.9)),
        "constant": UnitContent(parts={"items": items}, encoder=ConstantEncoder(matrix[0])),
    }
    opened = {}
    for name, content in contents.items():
        with pytest.MonkeyPatch.context() as patch:
            if name == "indexed":
                for module in (choice, writer):
                    patch.setattr(module, "FLAT_ROWS", 100)
                patch.setattr(choice, "CHEAP", 100.0)
            writer.write(folder / name, content, provenance(name))
        opened[name] = Unit.open(folder / name)
    assert opened["indexed"].items.index is not None
    return opened


def apply(live, *records):
    """Apply items, or the ids of deleted ones."""
    partition = Partition("shop.items", 0)
    for record in records:
        key, value = (record, None) if isinstance(record, str) else (record.item_id, encode(record))
        live.overlay.apply([StoredRecord(partition, 0, 0, key.encode(), value)])
    live.refresh()


def forget(live, *users, again=False):
    partition = Partition("shop.users", 0)
    value = b"{}" if again else None
    live.forgotten.apply([StoredRecord(partition, 0, 0, user.encode(), value) for user in users])
    live.refresh()


def ids(found):
    return [each.item_id for each in found.items]


def request(**fields):
    return msgspec.json.decode(msgspec.json.encode({"snapshot": "s", **fields}), type=Search)


ITEM = st.builds(
    Item,
    item_id=st.sampled_from([*IDS, "only-in-the-overlay"]),
    features=st.lists(st.sampled_from(WORDS), unique=True).map(tuple),
    available=st.integers(0, 3).map(bool),
)
LISTED = st.lists(st.sampled_from([*WORDS, "unheard-of"]), max_size=2)
FILTER = st.fixed_dictionaries({"all": LISTED, "any": LISTED, "none": LISTED}).filter(
    lambda document: any(document.values())
)
FILTERS = FILTER | st.sampled_from(
    [None]
    + [{"all": all_of, "any": any_of, "none": none_of}
       for all_of in ([], ["x"], ["x", "y"]) for any_of in ([], ["y", "z"]) for none_of in ([], ["z"])
       if all_of or any_of or none_of]
)  # fmt: skip


@st.composite
def catalogues(draw):
    """Return records of most items, then some changes."""
    chance, share = random.Random(draw(st.integers(0, 1_000_000))), draw(st.sampled_from([0.02, 0.3, 0.9]))
    first = [
        Item(item_id=item_id, features=tuple(word for word in WORDS if chance.random() < share))
        for item_id in IDS
        if chance.random() < 0.9
    ]
    return first + draw(st.lists(ITEM | st.sampled_from(IDS), max_size=20))


def allowed_rows(records, document, exclude):
    """Return the rows that may be found, by hand."""
    latest = {each if isinstance(each, str) else each.item_id: each for each in records}
    rows = []
    for row, item_id in enumerate(IDS):
        item = latest.get(item_id, Item(item_id=item_id))
        if isinstance(item, str) or not item.available or item_id in exclude:
            continue
        words = set(item.features)
        if document is None or (
            words.issuperset(document["all"])
            and (not document["any"] or words & set(document["any"]))
            and not words & set(document["none"])
        ):
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def check_best(answer, scores, k):
    """Check that an answer holds the greatest scores; equal ones may come in any order."""
    np.testing.assert_allclose([each.score for each in answer.items], np.sort(scores)[::-1][:k], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    records=catalogues(),
    document=FILTERS,
    exclude=st.sets(st.sampled_from(IDS), max_size=20),
    clicked=st.lists(st.sampled_from(IDS), max_size=3),
    k=st.integers(1, 1_000),
    few=st.sampled_from([None, 0, 15, ROWS]),
)
@pytest.mark.parametrize("kind", ["flat", "indexed"])
def test_a_search_finds_the_best_of_exactly_the_rows_allowed(
    units, kind, records, document, exclude, clicked, k, few
):
    unit, live = units[kind], Live()
    apply(live, *records)
    bound = Bound(unit, live.overlay, live.forgotten, few=few)
    bound.refresh()
    rows = allowed_rows(records, document, exclude)
    recent = [{"item_id": item_id} for item_id in clicked]
    asked = request(recent=recent, filter=document, exclude=sorted(exclude), k=k)
    answer = search(bound, asked)
    found = ids(answer)
    assert len(found) == len(set(found)) == min(k, len(rows)), "never fewer than there are"
    assert set(found) <= {IDS[row] for row in rows}
    query = unit.encode([RecentInteraction(item_id) for item_id in clicked])
    scores = (query.vectors[0] @ vectors().T)[rows]
    if kind == "flat" or len(rows) + len(exclude) <= (ROWS // 4 if few is None else few):
        check_best(answer, scores, k)


@settings(max_examples=40, deadline=None)
@given(
    records=catalogues(),
    document=FILTERS,
    exclude=st.sets(st.sampled_from(IDS), max_size=20),
    k=st.integers(1, 50),
)
@pytest.mark.parametrize("kind", ["flat", "indexed"])
def test_what_is_similar_keeps_to_the_rows_allowed_too(units, kind, records, document, exclude, k):
    live = Live()
    bound = live.bind(units[kind])
    apply(live, *records)
    rows = allowed_rows(records, document, exclude | {"i7"})
    answer = search(bound, request(similar_to="i7", filter=document, exclude=sorted(exclude), k=k))
    found = ids(answer)
    matrix = vectors()
    cosines = matrix[rows] @ matrix[7] / np.linalg.norm(matrix[rows], axis=1) / np.linalg.norm(matrix[7])
    assert set(found) <= {IDS[row] for row in rows}
    assert len(set(found)) == len(found)
    check_best(answer, cosines, k)


@pytest.mark.parametrize("kind", ["flat", "indexed", "neighbours", "constant"])
def test_hidden_items_are_in_no_answer_and_come_back(units, kind):
    live = Live()
    bound = live.bind(units[kind])
    asked = request(recent=[{"item_id": "i1"}], exclude=["i1"], k=5)
    first = ids(search(bound, asked))
    hidden = [Item(item_id=first[0], available=False), first[1]]
    apply(live, *hidden)
    without = ids(search(bound, asked))
    assert not set(first[:2]) & set(without)
    assert without[:3] == first[2:]
    similar = ids(search(bound, request(similar_to="i1", k=300)))
    assert not set(first[:2]) & set(similar)
    apply(live, *(Item(item_id=item_id) for item_id in first[:2]))
    assert ids(search(bound, asked)) == first


def test_a_filter_on_neighbours_finds_what_recent_items_lead_to(units):
    live = Live()
    bound = live.bind(units["neighbours"])
    led_to = ids(search(bound, request(recent=[{"item_id": "i1"}], exclude=["i1"], k=9)))
    apply(live, *(Item(item_id=item_id, features=("x",)) for item_id in [led_to[3], "i250"]))
    assert ids(search(bound, request(recent=[{"item_id": "i1"}], filter="x"))) == [led_to[3]]
    assert ids(search(bound, request(similar_to="i1", filter="x"))) == [led_to[3]]


def test_a_filter_follows_what_changes_though_its_rows_are_kept(units):
    live = Live()
    bound = live.bind(units["flat"])
    apply(live, Item(item_id="i1", features=("x",)), Item(item_id="i2", features=("x",)))
    asked = request(filter="x")
    assert sorted(ids(search(bound, asked))) == ["i1", "i2"]
    assert bound.items(parse("x")) is bound.items(parse("x")), "kept"
    apply(live, Item(item_id="i1"), Item(item_id="i3", features=("x",)))
    assert sorted(ids(search(bound, asked))) == ["i2", "i3"]


def test_no_more_filters_are_kept_than_stated(units):
    live = Live()
    bound = live.bind(units["flat"])
    for number in range(3 * bounds.FILTERS_KEPT):
        bound.items(parse(f"w:{number}"))
    assert len(bound._kept) <= bounds.FILTERS_KEPT


def test_a_unit_bound_late_knows_everything_and_follows(units):
    live = Live()
    apply(live, *(Item(item_id=item_id, available=False) for item_id in IDS[:200]))
    bound = live.bind(units["flat"])
    assert set(ids(search(bound, request(k=1_000)))) == set(IDS[200:])
    apply(live, "i200")
    assert "i200" not in ids(search(bound, request(k=1_000)))


def test_while_a_unit_is_bound_the_others_follow(units, monkeypatch):
    live = Live()
    first = live.bind(units["flat"])
    apply(live, *(Item(item_id=item_id) for item_id in IDS))
    seen = []

    def pause():
        apply(live, "i5")
        seen.append("i5" in ids(search(first, request(k=1_000))))

    monkeypatch.setattr(lives, "_pause", pause)
    late = live.bind(units["indexed"])
    assert seen == [False]
    assert "i5" not in ids(search(late, request(k=1_000)))


def test_a_unit_that_nobody_holds_is_followed_no_longer(units):
    live = Live()
    bound = live.bind(units["flat"])
    assert len(live._bound) == 1
    del bound
    assert len(live._bound) == 0


def test_forgotten_users_are_nobodys_like(units):
    live = Live()
    bound = live.bind(units["flat"])
    asked = request(similar_to_user="ann")
    assert sorted(ids(search(bound, asked))) == ["bob", "cid"]
    assert search(bound, request(similar_to_user="zoe")) is None
    forget(live, "bob")
    assert ids(search(bound, asked)) == ["cid"]
    assert search(bound, request(similar_to_user="bob")) is None
    assert bound.users() is not None
    forget(live, "bob", again=True)
    assert sorted(ids(search(bound, asked))) == ["bob", "cid"]


def test_a_unit_without_users_knows_nobody(units):
    assert search(Live().bind(units["indexed"]), request(similar_to_user="ann")) is None
