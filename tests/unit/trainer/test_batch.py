"""From stored records to a batch: decoded, de-duplicated, split at forgets."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sluice.errors import InvalidRecord
from sluice.events import Partition, StoredRecord
from sluice.records import Forget, Interaction, decode_interaction, encode
from sluice_trainer.batch import Batch, decode, interactions_in, origin, ranges_of, runs, without_forgotten
from sluice_trainer.repeats import Repeats


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
        stored(encode(Interaction(user_id="v", item_id="c", event="cart", value=2.5)), 9),
    ]
    made = decode(records, Repeats())
    assert (made.rejected, made.duplicates) == (3, 0)
    assert made.keys.tolist() == [0, 3, 9]
    assert (made.users, made.items) == (["u", "u", "v"], ["a", "b", "c"])
    assert (made.kinds, made.values) == (["view", "view", "cart"], [1.0, 1.0, 2.5])
    assert made.forgets == [(2, "u")]
    assert interactions_in(records) == 3
    assert len(decode([], Repeats()).keys) == 0


def test_keys_tell_partition_and_offset():
    records = [
        stored(b"u:i", 0, 0),
        stored(b"u:i", 0, 1),
        stored(b"u:i", (1 << 48) - 1, 0),
        stored(b"u:i", 7, 99),
    ]
    keys = decode(records, Repeats()).keys.tolist()
    assert [origin(key) for key in keys] == [(0, 0), (1, 0), (0, (1 << 48) - 1), (99, 7)]
    assert len(set(keys)) == 4


def test_what_a_batch_spans_is_told_by_partition():
    records = [stored(b"u:i", 100, 0), stored(b"{", 150, 0), stored(b"u:i", 199, 0), stored(b"u:i", 50, 1)]
    assert ranges_of(decode(records, Repeats()).keys) == "0:100-200,1:50-51"


def test_an_event_id_is_accepted_once_and_events_without_one_always():
    repeats = Repeats()
    first = decode([stored(viewed("e1"), 0), stored(viewed("e1"), 1), stored(viewed("e2"), 2)], repeats)
    again = decode(
        [stored(viewed("e2"), 3), stored(viewed("e3"), 4), stored(b"u:i", 5), stored(b"u:i", 6)], repeats
    )
    assert (len(first.keys), first.duplicates) == (2, 1)
    assert (again.keys.tolist(), again.duplicates) == ([4, 5, 6], 1)


def test_a_repeat_counts_within_its_own_partition_only():
    records = [stored(viewed("e1"), 0, 0), stored(viewed("e1"), 5, 1), stored(viewed("e1"), 9, 1)]
    made = decode(records, Repeats())
    assert ([origin(key) for key in made.keys.tolist()], made.duplicates) == ([(0, 0), (1, 5)], 1)


PAYLOADS = st.lists(
    st.one_of(
        st.sampled_from([viewed() + viewed(), viewed() + b"\n" + viewed(), b" " + viewed() + b"\n", b" "]),
        st.sampled_from([viewed(user="\x7f"), viewed(user="\x85"), viewed(user="日本"), viewed(user="a\nb")]),
        st.sampled_from([b"", b"{", b"a:b", b'{"user_id":"a","item_', b'id":"b"}', b"}", b"[]", b"\n"]),
        st.builds(viewed, st.sampled_from([None, "e1", "e2", "e3"]), user=st.sampled_from("uvw")),
        st.builds(lambda user: encode(Forget(user_id=user)), st.sampled_from("uvw")),
    ),
    max_size=40,
)


def one_by_one(payloads: list[bytes]) -> tuple[list[tuple[str, ...]], int, int]:
    """What a batch should hold: interactions and forgets in order, duplicates, rejects."""
    events, seen, duplicates, rejected = [], set(), 0, 0
    for offset, payload in enumerate(payloads):
        try:
            event = decode_interaction(payload)
        except InvalidRecord:
            rejected += 1
            continue
        if isinstance(event, Forget):
            events.append(("forget", event.user_id))
        elif event.event_id in seen:
            duplicates += 1
        else:
            seen |= {event.event_id} - {None}
            events.append(("view", event.user_id, event.item_id, str(offset)))
    return events, duplicates, rejected


def listed(batch: Batch) -> list[tuple[str, ...]]:
    rows = zip(batch.users, batch.items, batch.keys.tolist(), strict=True)
    return [("view", user, item, str(key)) for user, item, key in rows]


NASTY = [
    viewed() + viewed(),
    viewed() + b"\n" + viewed(),
    viewed() + b'\n{"user_id":"a",',
    b'"item_id":"b"}',
    b'{"user_id":"a}',
    b'{b","item_id":"c"}',
    b"",
    b"\n",
    b" ",
    b"{",
    b"}",
]


@pytest.mark.parametrize("size", [2, 3])
def test_no_payload_takes_over_what_its_neighbour_lacks(size):
    """Together they might look like as many interactions as there are payloads."""
    for some in itertools.permutations(NASTY, size):
        payloads = [viewed("e1"), *some, *(viewed(f"e{n}") for n in range(2, 12))]
        events, duplicates, rejected = one_by_one(payloads)
        made = decode([stored(payload, offset) for offset, payload in enumerate(payloads)], Repeats())
        assert (listed(made), made.duplicates, made.rejected) == (events, duplicates, rejected), some


@given(PAYLOADS)
def test_a_batch_holds_what_reading_record_by_record_gives(payloads):
    events, duplicates, rejected = one_by_one(payloads)
    made = decode([stored(payload, offset) for offset, payload in enumerate(payloads)], Repeats())
    assert (made.duplicates, made.rejected) == (duplicates, rejected)
    assert listed(made) == [each for each in events if each[0] == "view"]
    back = []
    for run in runs(made):
        back += listed(run.interactions) if run.interactions is not None else [("forget", run.forgotten)]
    assert back == events


@given(PAYLOADS)
def test_a_first_training_leaves_out_what_a_later_forget_voids(payloads):
    events, *_ = one_by_one(payloads)
    expected = [
        each
        for place, each in enumerate(events)
        if each[0] == "view" and ("forget", each[1]) not in events[place:]
    ]
    made = decode([stored(payload, offset) for offset, payload in enumerate(payloads)], Repeats())
    left = without_forgotten(made)
    assert listed(left) == expected
    assert left.keys.dtype == np.uint64
