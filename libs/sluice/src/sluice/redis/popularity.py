"""The popular items in Redis, for all processes together: one of them asks the store, once a second."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import redis

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice.items import Gain, Popularity
from sluice.redis.connection import RedisConnection
from sluice.redis.reads import StoreReads

FRESH_MS: Final = 1_000
KEPT_S: Final = 3_600
"""How long a ranking outlives a store that does not answer."""
WHOLE: Final = 5_000
"""Where fewer items than these were ever counted, one ranking holds the counts of all."""
_LOOKUPS = instruments.counter(metrics.CACHE_LOOKUPS)
_RANKING: Final = msgspec.msgpack.Decoder(list[tuple[str, float]])


class CachedPopularity:
    """:class:`~sluice.items.Popularity` of which each ranking is in Redis, a second old at the most.

    Who finds that second over claims the next and asks the store; the others, and all while the store does not answer,
    take the ranking that is there. An instance sees at once what it has written itself.
    """

    def __init__(
        self,
        port: Popularity,
        connection: RedisConnection,
        space: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._connection, self._reads = port, connection, StoreReads("popularity", clock)
        self._prefix, self._clock = f"sluice:popular:{space}:", clock
        self._read_since_write: set[int] | None = None
        self._partial_until = clock()

    def apply(self, partition: Partition, gains: Sequence[Gain]) -> None:
        """See :class:`~sluice.items.Popularity`."""
        self._store.apply(partition, gains)
        self._read_since_write = set()

    def top(self, n: int) -> list[tuple[str, float]]:
        """See :class:`~sluice.items.Popularity`."""
        ranking: list[tuple[str, float]]
        cached, is_fresh = self._cached(n)
        if cached is not None and is_fresh and not self._has_written(n):
            return cached
        read_since_write = self._read_since_write
        try:
            ranking = self._reads.ask(lambda: self._store.top(n), partial(self._keep, n))
        except StorageUnavailable:
            if cached is None:
                raise
            return cached
        if read_since_write is not None:
            read_since_write.add(n)
        return ranking

    def of(self, item_ids: Collection[str]) -> dict[str, float]:
        """See :class:`~sluice.items.Popularity`."""
        if self._clock() >= self._partial_until:
            ranking = self.top(WHOLE)
            if len(ranking) < WHOLE:
                wanted = set(item_ids)
                return {item_id: count for item_id, count in ranking if item_id in wanted}
            self._partial_until = self._clock() + KEPT_S
        return self._reads.ask(lambda: self._store.of(item_ids), _keep_nothing)

    def _has_written(self, n: int) -> bool:
        return self._read_since_write is not None and n not in self._read_since_write

    def _cached(self, n: int) -> tuple[list[tuple[str, float]] | None, bool]:
        """Return the ranking in Redis, and whether it is fresh; where it is not, this process has claimed it."""
        key = f"{self._prefix}{n}"
        try:
            entry, claimed = self._connection.run(lambda client: _look(client, key))
            cached = None if entry is None else _RANKING.decode(entry)
        except (StorageUnavailable, msgspec.MsgspecError):
            _LOOKUPS.labels("popular", "failed").inc()
            return None, False
        _LOOKUPS.labels("popular", "miss" if cached is None or claimed else "hit").inc()
        return cached, not claimed

    def _keep(self, n: int, ranking: list[tuple[str, float]]) -> None:
        document = msgspec.msgpack.encode(ranking)
        try:
            self._connection.run(lambda client: client.set(f"{self._prefix}{n}", document, ex=KEPT_S))
        except StorageUnavailable:  # told by the connection
            return


def _keep_nothing(counts: dict[str, float]) -> None:
    """Each process keeps what it makes of these."""


def _look(client: "redis.Redis", key: str) -> list[Any]:
    """Return the entry, and whether the next second was claimed."""
    pipeline = client.pipeline(transaction=False)
    pipeline.get(key)
    pipeline.set(f"{key}:fresh", b"", nx=True, px=FRESH_MS)
    return pipeline.execute()
