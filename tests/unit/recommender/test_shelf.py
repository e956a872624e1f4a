"""What the API keeps of a source for a moment: metadata, and popular items over the overlay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.filters import parse
from sluice.items import growth
from sluice.overlay import Overlay
from sluice.records import Item
from sluice_recommender.api import shelf
from sluice_recommender.api.shelf import Metadata, Popular


class Shelved:
    """Metadata over one item and an overlay, at a time that the test sets."""

    def __init__(self, fakes, capacity=10):
        self.now, self.items, self.overlay = 100.0, fakes.RememberedItems(), Overlay(capacity)
        self.metadata = Metadata(self.items, self.overlay, clock=lambda: self.now)

    def title(self):
        return json.loads(bytes(self.metadata.of(["a", "b"])["a"]))["title"]

    def store(self, title):
        self.items["a"] = Item(item_id="a", title=title)


def test_metadata_is_at_most_half_a_second_old_while_items_change(fakes):
    world = Shelved(fakes)
    world.store("old")
    fakes.put(world.overlay, Item(item_id="a", title="new"))
    assert world.title() == "old"  # the overlay may be ahead of the store
    world.store("new")
    world.now += 0.4
    assert world.title() == "old"
    world.now += 0.1
    assert world.title() == "new"


def test_metadata_is_kept_for_ten_seconds_while_no_item_changes(fakes):
    world = Shelved(fakes)
    world.store("old")
    world.now += 10.0
    assert world.title() == "old"
    world.store("new")
    world.now += 9.9
    assert world.title() == "old"
    world.now += 0.1
    assert world.title() == "new"


@pytest.mark.parametrize("capacity", [1, 0])
def test_a_change_that_the_overlay_sees_shortens_what_was_kept_before(fakes, capacity):
    world = Shelved(fakes, capacity)
    world.store("old")
    world.now += 10.0
    assert world.title() == "old"
    world.store("new")
    fakes.put(world.overlay, Item(item_id="a", title="new"))
    world.now += 0.5
    assert world.title() == "new"


class World:
    def __init__(self, fakes, counts):
        self.ticks, self.overlay, self.store = 0.0, Overlay(), fakes.CountedPopularity(counts)
        self.popular = Popular(self.store, self.overlay, clock=lambda: fakes.NOW, ticks=lambda: self.ticks)

    def ids(self, wanted=None):
        return [item_id for item_id, _ in self.popular.ranked(wanted)]


def test_popularity_is_told_as_of_now_and_outlives_its_store(fakes):
    world = World(fakes, {"a": 4.0})
    assert world.popular.ranked() == [("a", pytest.approx(4.0))]
    world.popular._popularity = fakes.UnavailablePopularity()
    world.ticks = 5.0
    assert world.popular.ranked() == [("a", pytest.approx(4.0))]
    assert growth(fakes.NOW) > 1


def test_hidden_items_leave_and_come_back_before_the_ranking_is_a_second_old(fakes):
    world = World(fakes, {"a": 4.0, "b": 3.0})
    assert world.ids() == ["a", "b"]
    fakes.put(world.overlay, Item(item_id="a", available=False))
    world.ticks = 0.1
    assert world.ids() == ["b"]
    fakes.put(world.overlay, Item(item_id="a"))
    world.ticks = 0.2
    assert world.ids() == ["a", "b"]


def test_items_never_counted_come_last_by_id(fakes):
    world = World(fakes, {"b": 1.0})
    fakes.put(world.overlay, *(Item(item_id=name) for name in "dcba"), "c")
    assert world.ids() == ["b", "a", "d"]
    assert world.popular.ranked()[-1] == ("d", 0.0)


def test_without_the_store_a_filter_takes_from_what_is_known(fakes):
    world = World(fakes, {"a": 4.0, "b": 3.0})
    fakes.put(world.overlay, Item(item_id="b", features=("g:1",)))
    world.ids()
    world.popular._popularity = fakes.UnavailablePopularity()
    assert world.ids(parse("g:1")) == ["b"]


IDS = [f"i{number}" for number in range(24)]
ITEM = st.builds(
    Item,
    item_id=st.sampled_from(IDS),
    features=st.lists(st.sampled_from(["x", "y", "z"]), unique=True).map(tuple),
    available=st.booleans(),
)
WORDS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2)
FILTER = st.none() | st.fixed_dictionaries({"all": WORDS, "any": WORDS, "none": WORDS}).filter(
    lambda document: any(document.values())
)


@pytest.mark.parametrize(("depth", "selective"), [(4, 0), (4, 8), (100, 200), (100, 0)])
@given(
    counts=st.dictionaries(st.sampled_from(IDS), st.integers(1, 5).map(float)),
    records=st.lists(ITEM | st.sampled_from(IDS), max_size=30),
    document=FILTER,
)
def test_a_ranking_equals_that_of_all_items_there_are(fakes, depth, selective, counts, records, document):
    world = World(fakes, counts)
    fakes.put(world.overlay, *records)
    latest = {each if isinstance(each, str) else each.item_id: each for each in records}

    def matches(item_id):
        item = latest.get(item_id, Item(item_id=item_id) if item_id in counts else item_id)
        if isinstance(item, str) or not item.available:
            return False
        words = set(item.features)
        return document is None or (
            words.issuperset(document["all"])
            and (not document["any"] or bool(words & set(document["any"])))
            and not words & set(document["none"])
        )

    expected = sorted(filter(matches, counts.keys() | latest), key=lambda each: (-counts.get(each, 0), each))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "POPULAR_DEPTH", depth)
        patch.setattr(shelf, "SELECTIVE", selective)
        found = world.ids(None if document is None else parse(document))
    assert found == expected[:depth]


def test_a_change_that_leaves_the_items_the_same_ranks_nothing_anew(fakes):
    world = World(fakes, {"a": 4.0, "b": 3.0})
    fakes.put(world.overlay, Item(item_id="a", features=("g",)))
    asked, of = [], world.store.of
    world.store.of = lambda item_ids: asked.append(item_ids) or of(item_ids)
    for number in range(5):
        fakes.put(world.overlay, Item(item_id="b", attributes={"stock": number}))
        world.ticks += 0.15
        assert world.ids(parse("g")) == ["a"]
    assert len(asked) == 1
    fakes.put(world.overlay, Item(item_id="b", features=("g",)))
    assert world.ids(parse("g")) == ["a", "b"]
    world.ticks += 1.0
    world.store.counts["b"] = 9.0
    assert world.ids(parse("g")) == ["b", "a"]


def test_a_ranking_that_takes_long_is_made_less_often(fakes):
    world = World(fakes, {"a": 4.0, "b": 3.0})
    top = world.store.top

    def slow(n):
        world.ticks += 0.5
        return top(n)

    world.store.top = slow
    assert world.ids() == ["a", "b"]
    world.store.counts["b"] = 9.0
    world.ticks += 9.0
    assert world.ids() == ["a", "b"]
    world.ticks += 1.0
    assert world.ids() == ["b", "a"]
    fakes.put(world.overlay, Item(item_id="a", available=False))
    world.ticks += 2.4
    assert world.ids() == ["b", "a"], "what is hidden is left out when it is answered with"
    world.ticks += 0.1
    assert world.ids() == ["b"]
