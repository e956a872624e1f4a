"""Repeats in batches: the same answers as one by one, in little memory."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from sluice.duplicates import Duplicates
from sluice_trainer import repeats
from sluice_trainer.repeats import Repeats, hashes_of

WINDOW = 12
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 5),
        st.one_of(st.none(), st.sampled_from([f"e{n}" for n in range(9)])),
    ),
    max_size=120,
)


def asked(events) -> list[tuple[int, int, str | None]]:
    """Partition, offset and event id; offsets rise by the second number given."""
    offsets = dict.fromkeys(range(3), 0)
    made = []
    for part, step, event_id in events:
        offsets[part] += step
        made.append((part, offsets[part], event_id))
    return made


def answers(known: Repeats, batch) -> list[bool]:
    parts, offsets, ids = zip(*batch, strict=True) if batch else ((), (), ())
    return known.of(np.array(parts, dtype=np.int64), np.array(offsets, dtype=np.int64), ids).tolist()


@given(EVENTS, st.lists(st.integers(0, 30), max_size=10))
def test_in_whatever_batches_they_come_repeats_are_what_any_other_reader_finds(events, sizes):
    one_by_one, known, told = Duplicates(WINDOW), Repeats(WINDOW), []
    stream = asked(events)
    places = np.cumsum([0, *sizes]).tolist()
    for start, stop in zip(places, [*places[1:], len(stream)], strict=True):
        told += answers(known, sorted(stream[start:stop], key=lambda each: each[0]))
        known.restore(known.state())
    expected = []
    for start, stop in zip(places, [*places[1:], len(stream)], strict=True):
        for part, offset, event_id in sorted(stream[start:stop], key=lambda each: each[0]):
            expected.append(event_id is not None and one_by_one.repeated(part, offset, event_id))
    assert told == expected


def test_a_checkpoint_holds_one_window_whenever_memory_was_given_back(monkeypatch):
    plain, tidy = Repeats(50), Repeats(50)
    monkeypatch.setattr(repeats, "_YOUNG", 1 << 30)
    batches = [[(0, 10 * n + m, f"e{n}-{m}") for m in range(10)] for n in range(40)]
    for batch in batches:
        assert not any(answers(plain, batch))
    monkeypatch.setattr(repeats, "_YOUNG", 4)
    for batch in batches:
        assert not any(answers(tidy, batch))
    assert len(tidy.state()["hashes"]) == 50
    for name, array in plain.state().items():
        assert array.tobytes() == tidy.state()[name].tobytes()
    assert answers(tidy, [(0, 400, "e39-0"), (0, 401, "e0-0")]) == [True, False]


def test_a_hash_depends_on_the_word_alone():
    words = ["a", "b", "ab", "ba", "aa", "e1", "e10", "1e", "ä", "é" * 200, "日本", "x" * 255, "x" * 256]
    together = hashes_of(words)
    assert len(set(together.tolist())) == len(words)
    assert [int(hashes_of([word])[0]) for word in words] == together.tolist()


def test_hashes_of_many_alike_do_not_meet():
    words = [f"{kind}-{number:06d}" for kind in ("order", "redro") for number in range(100_000)]
    assert len(np.unique(hashes_of(words))) == len(words)
