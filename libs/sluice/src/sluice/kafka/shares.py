"""Records that were fetched but not asked for yet, given out so that no partition starves another."""

from collections.abc import Iterable, Sequence

from sluice.events import Partition, StoredRecord


class Shares:
    """Keeps records by partition, each in offset order."""

    def __init__(self) -> None:
        self._kept: dict[Partition, list[StoredRecord]] = {}
        self.count = 0

    def put(self, records: Sequence[StoredRecord]) -> None:
        """Keep records behind those that are there."""
        for record in records:
            self._kept.setdefault(record.partition, []).append(record)
        self.count += len(records)

    def has(self, partition: Partition) -> bool:
        """Return whether records of ``partition`` are there."""
        return partition in self._kept

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget the records of partitions."""
        for partition in partitions:
            self.count -= len(self._kept.pop(partition, ()))

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.count = 0

    def take(self, limit: int) -> list[StoredRecord]:
        """Return up to ``limit``: to each partition its share first, then what is left to those that have more."""
        order = list(self._kept)
        sizes = dict.fromkeys(order, 0)
        for most in (max(1, limit // max(1, len(order))), limit):
            for partition in order:
                more = min(most, len(self._kept[partition])) - sizes[partition]
                sizes[partition] += max(0, min(more, limit - sum(sizes.values())))
        return [record for partition in order for record in self._cut(partition, sizes[partition])]

    def _cut(self, partition: Partition, size: int) -> list[StoredRecord]:
        """Take ``size`` records out; who gave some is last next time."""
        if not size:
            return []
        kept = self._kept.pop(partition)
        if size < len(kept):
            self._kept[partition] = kept[size:]
        self.count -= size
        return kept[:size]
