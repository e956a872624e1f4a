"""Vocabularies: ids as rows, in the order of first appearance, never renumbered."""

from collections.abc import Iterable, Sequence

import numpy as np

from sluice.encoder import Rows


class Vocabulary:
    """Append-only id ↔ row."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        self._rows: dict[str, int] = {}
        self.add(list(identifiers))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, identifiers: Sequence[str]) -> Rows:
        """Return the rows of ``identifiers``, giving new ones the next rows."""
        rows = self._rows
        return np.fromiter(
            (rows.setdefault(each, len(rows)) for each in identifiers), dtype=np.int32, count=len(identifiers)
        )

    def identifiers(self) -> list[str]:
        """Return all ids in row order."""
        return list(self._rows)
