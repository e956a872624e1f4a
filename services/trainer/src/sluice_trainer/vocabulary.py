"""Vocabularies: ids as rows, in the order of first appearance, never renumbered."""

from collections.abc import Iterable, Sequence

import numpy as np

from sluice.encoder import Rows


class Vocabulary:
    """Append-only id ↔ row."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        self._rows: dict[str, int] = {}
        self._identifiers: list[str] = []
        self.add(list(identifiers))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, identifiers: Sequence[str]) -> Rows:
        """Return the rows of ``identifiers``, giving new ones the next rows."""
        rows = self._rows
        found = np.fromiter(
            (rows.setdefault(each, len(rows)) for each in identifiers), dtype=np.int32, count=len(identifiers)
        )
        if len(rows) > len(self._identifiers):
            new = dict.fromkeys(each for each in identifiers if rows[each] >= len(self._identifiers))
            self._identifiers.extend(new)
        return found

    def identifiers(self) -> list[str]:
        """Return all ids in row order."""
        return list(self._identifiers)

    def since(self, row: int) -> list[str]:
        """Return the ids from ``row`` on, in row order."""
        return self._identifiers[row:]
