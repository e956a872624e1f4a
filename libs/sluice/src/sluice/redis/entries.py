"""Entries of a cache: bytes by id, each for a minute. With Redis gone there are none, and nobody fails for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import redis

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.redis.connection import RedisConnection

TTL_S: Final = 60
MISSING_S: Final = 10
MISSING: Final = b""
"""Stands for what the store does not have."""
_SET: Final = """
for index, key in ipairs(KEYS) do
  local value = ARGV[index + 3]
  local seconds = value == '' and ARGV[2] or ARGV[1]
  if ARGV[3] == 'NX' then
    redis.call('SET', key, value, 'EX', seconds, 'NX')
  else
    redis.call('SET', key, value, 'EX', seconds)
  end
end
"""
"""One command for many entries: as many commands in a pipeline cost redis-py over ten times as much."""
CALL_ENTRIES: Final = 200
CALL_BYTES: Final = 256 * 1024
"""What one call carries at most, so that it takes milliseconds: one that takes 0.25 s would count as an outage. An
entry that is larger has a call of its own."""
_LOOKUPS = instruments.counter(metrics.CACHE_LOOKUPS)


class Entries:
    """What is cached of one kind and source.

    Readers :meth:`keep` what they read of the store only where nothing is cached, writers :meth:`put` what they
    wrote over whatever is: so a reader that read before a write cannot hide it. What a writer could not put because
    Redis was away for a moment, and what two writers of the same put in the other order than they wrote it, may be
    seen in a former state until it expires, for 60 s. A call is small however many entries there are; after one
    that fails the rest is not tried.
    """

    def __init__(self, connection: RedisConnection, kind: str, space: str) -> None:
        self._connection, self._prefix = connection, f"sluice:{kind}:{space}:"
        self._hits = _LOOKUPS.labels(kind, "hit")
        self._misses = _LOOKUPS.labels(kind, "miss")
        self._failures = _LOOKUPS.labels(kind, "failed")

    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return those that are cached, :data:`MISSING` for what is known to be missing."""
        if not ids:
            return {}
        keys = self._keys(ids)
        try:
            values: Sequence[Any] = self._connection.run(lambda client: client.mget(keys))
        except StorageUnavailable:
            self._failures.inc(len(keys))
            return {}
        found = {each: value for each, value in zip(ids, values, strict=True) if value is not None}
        self._hits.inc(len(found))
        self._misses.inc(len(ids) - len(found))
        return found

    def keep(self, entries: Mapping[str, bytes]) -> None:
        """Cache what was read of the store, where nothing is cached."""
        self._set(entries, only_new=True)

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Cache what was written to the store."""
        self._set(entries, only_new=False)

    def _set(self, entries: Mapping[str, bytes], *, only_new: bool) -> None:
        options = (TTL_S, MISSING_S, "NX" if only_new else "")

        def write(some: Mapping[str, bytes], client: "redis.Redis") -> None:
            client.register_script(_SET)(keys=self._keys(some), args=[*options, *some.values()])

        try:
            for some in _slices(entries):
                self._connection.run(partial(write, some))
        except StorageUnavailable:  # told by the connection; the store has it
            return

    def _keys(self, ids: Iterable[str]) -> list[str]:
        return [self._prefix + each for each in ids]


def _slices(entries: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Return the entries of one call after the other."""
    some: dict[str, bytes] = {}
    size = 0
    for each, entry in entries.items():
        own = len(each) + len(entry)
        if some and (len(some) == CALL_ENTRIES or size + own > CALL_BYTES):
            yield some
            some, size = {}, 0
        some[each] = entry
        size += own
    if some:
        yield some
