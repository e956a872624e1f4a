"""From stored records to events: decoded, de-duplicated, split at forgets."""

import itertools

import hypothesis.strategies as st
from hypothesis import given

from sluice.duplicates import Duplicates
from sluice.events import Partition, StoredRecord
from sluice.records import Forget, Interaction, encode
from sluice_trainer.batch import Event, decode, origin, runs, without_forgotten


def stored(value: bytes | None, offset: int = 0, part: int = 0) -> StoredRecord:
    return StoredRecord(Partition("t", part), offset, 1, b"k", value)


def viewed(event_id: str | None = None, user: str = "u", item: str = "i") -> bytes:
    return encode(Interaction(user_id=user, item_id=item, event_id=event_id))


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on_in_order():
    records = [
        stored(viewed(item="a"), 0),
        stored(b"{", 1),
        stored(None, 2),
        stored(b"u:b", 3),
        stored(b"", 4),
        stored(encode(Forget(user_id="u")), 5),
        stored(viewed(item="c"), 9),
    ]
    made = decode(records, Duplicates())
    assert (made.rejected, made.duplicates) == (3, 0)
    assert [each.key for each in made.events] == [0, 3, 5, 9]
    assert [getattr(each.event, "item_id", "forget") for each in made.events] == ["a", "b", "forget", "c"]


def test_keys_tell_partition_and_offset():
    records = [
        stored(b"u:i", 0, 0),
        stored(b"u:i", 0, 1),
        stored(b"u:i", (1 << 48) - 1, 0),
        stored(b"u:i", 7, 99),
    ]
    keys = [each.key for each in decode(records, Duplicates()).events]
    assert len(set(keys)) == 4
    assert all(0 <= key < 1 << 64 for key in keys)


def test_an_event_id_is_accepted_once_and_events_without_one_always():
    duplicates = Duplicates()
    first = decode([stored(viewed("e1"), 0), stored(viewed("e1"), 1), stored(viewed("e2"), 2)], duplicates)
    again = decode(
        [stored(viewed("e2"), 3), stored(viewed("e3"), 4), stored(b"u:i", 5), stored(b"u:i", 6)], duplicates
    )
    assert (len(first.events), first.duplicates) == (2, 1)
    assert ([each.key for each in again.events], again.duplicates) == ([4, 5, 6], 1)


def test_a_repeat_counts_within_its_own_partition_only():
    records = [stored(viewed("e1"), 0, 0), stored(viewed("e1"), 5, 1), stored(viewed("e1"), 9, 1)]
    made = decode(records, Duplicates())
    assert ([origin(each.key) for each in made.events], made.duplicates) == ([(0, 0), (1, 5)], 1)


STREAM = st.lists(st.tuples(st.sampled_from("uvw"), st.booleans()), max_size=25).map(
    lambda pairs: [
        Event(n, Forget(user_id=user) if forget else Interaction(user_id=user, item_id=str(n)))
        for n, (user, forget) in enumerate(pairs)
    ]
)


@given(STREAM)
def test_runs_are_the_batch_in_order_with_each_forget_alone(events):
    made = list(runs(events))
    back = []
    for run in made:
        assert (run.forget is None) == bool(run.events)
        back.extend([each.event for each in run.events] or [run.forget])
    assert back == [each.event for each in events]
    kinds = [run.forget is None for run in made]
    assert all(not (one and two) for one, two in itertools.pairwise(kinds)), "runs of events are whole"


@given(STREAM)
def test_a_first_training_leaves_out_what_a_later_forget_voids(events):
    expected = [
        each
        for place, each in enumerate(events)
        if isinstance(each.event, Interaction)
        and not any(
            isinstance(later.event, Forget) and later.event.user_id == each.event.user_id
            for later in events[place:]
        )
    ]
    assert without_forgotten(events) == expected
