"""Entries of a cache: what one call to Redis carries; the connection is a stand-in."""

from typing import Any

import pytest

from sluice.errors import StorageUnavailable
from sluice.redis.entries import CALL_BYTES, CALL_ENTRIES, Entries


class Connection:
    """Keeps what each call sets; ``fails`` counts the calls that work before one does not."""

    def __init__(self, fails: int = 1_000) -> None:
        self.calls: list[dict[str, bytes]] = []
        self.tried, self._fails = 0, fails

    def run(self, work: Any) -> Any:
        self.tried += 1
        if self.tried > self._fails:
            raise StorageUnavailable("Redis does not answer")
        return work(self)

    def register_script(self, _script: str) -> Any:
        def run(keys: list[str], args: list[Any]) -> None:
            self.calls.append(dict(zip(keys, args[3:], strict=True)))

        return run

    @property
    def held(self) -> dict[str, bytes]:
        return {key: value for call in self.calls for key, value in call.items()}


@pytest.mark.parametrize(("count", "size"), [(4_000, 2_000), (4_000, 10), (7, 100_000), (1, 10)])
@pytest.mark.parametrize("how", ["put", "keep"])
def test_a_batch_of_any_size_is_written_in_calls_of_bounded_size(count, size, how):
    connection, entries = Connection(), {f"u{number}": b"x" * size for number in range(count)}
    getattr(Entries(connection, "profile", "sluice.shop"), how)(entries)
    assert connection.held == {f"sluice:profile:sluice.shop:{each}": value for each, value in entries.items()}
    for call in connection.calls:
        assert len(call) <= CALL_ENTRIES
        assert sum(map(len, call.values())) <= CALL_BYTES
    assert len(connection.calls) <= 1 + count / CALL_ENTRIES + 2 * count * (size + 5) / CALL_BYTES


def test_an_entry_larger_than_a_call_has_one_of_its_own():
    connection, large = Connection(), b"x" * (CALL_BYTES + 1)
    Entries(connection, "profile", "shop").put({"a": b"1", "large": large, "b": b"2"})
    assert [len(call) for call in connection.calls] == [1, 1, 1]
    assert connection.held["sluice:profile:shop:large"] == large


def test_after_a_call_that_fails_the_rest_is_not_tried():
    connection = Connection(fails=2)
    Entries(connection, "profile", "shop").put({f"u{number}": b"x" for number in range(2_000)})
    assert (len(connection.calls), connection.tried) == (2, 3)


def test_nothing_to_write_asks_nobody():
    connection = Connection()
    Entries(connection, "profile", "shop").put({})
    assert connection.tried == 0
