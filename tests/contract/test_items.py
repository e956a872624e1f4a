"""The items port: the item catalogue of one source."""

import pytest

from sluice.records import Item


def test_what_was_put_is_returned_and_what_is_unknown_is_left_out(items):
    first = Item(
        item_id="a", title="A", features=("genre:Comedy",), attributes={"year": 1999, "t": [1, None]}
    )
    items.put([first, Item(item_id="b", available=False)])
    assert items.get(["b", "nope", "a"]) == {"a": first, "b": Item(item_id="b", available=False)}
    assert items.get([]) == {}


def test_putting_again_replaces_the_whole_item(items):
    items.put([Item(item_id="a", title="old", features=("x",))])
    items.put([Item(item_id="a", title="new"), Item(item_id="b"), Item(item_id="b", title="last")])
    assert items.get(["a", "b"]) == {
        "a": Item(item_id="a", title="new"),
        "b": Item(item_id="b", title="last"),
    }


def test_deleting_passes_over_unknown_items(items):
    items.put([Item(item_id="a"), Item(item_id="b")])
    items.delete(["a", "never", "a"])
    items.delete([])
    assert items.get(["a", "b"]) == {"b": Item(item_id="b")}


@pytest.mark.parametrize("item", ["ü—🙂", "a:b", "' OR 1=1 --", "x" * 256, "A"])
def test_any_valid_id_is_an_item_of_its_own(items, item):
    items.put([Item(item_id=item), Item(item_id="a")])
    items.delete(["a"])
    assert list(items.get([item, "a"])) == [item]


def test_many_items_are_got_at_once(items):
    items.put([Item(item_id=f"i{number}") for number in range(1_000)])
    assert len(items.get([f"i{number}" for number in range(1_500)])) == 1_000


def test_items_are_there_for_the_next_opener(items_port, items):
    items.put([Item(item_id="a", title="A")])
    assert items_port.open().get(["a"]) == {"a": Item(item_id="a", title="A")}


def test_threads_may_put_at_once(items, at_once):
    def work(name: str) -> None:
        for number in range(50):
            items.put([Item(item_id=f"{name}{number}"), Item(item_id="shared", title=name)])

    assert at_once(*[lambda name=name: work(name) for name in "abcd"]) == [None] * 4
    found = items.get([f"{name}{number}" for name in "abcd" for number in range(50)] + ["shared"])
    assert len(found) == 201
    assert found["shared"].title in "abcd"
