"""Vocabularies: ids as rows, in the order of first appearance, never renumbered."""

from collections.abc import Iterable, Sequence

import numpy as np

from sluice.encoder import Rows


class Vocabulary:
    """Id ↔ row. A forgotten id leaves its row behind, as ``""``: no row is ever given twice."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        self._identifiers = list(identifiers)
        self._rows = {each: row for row, each in enumerate(self._identifiers) if each}

    def __len__(self) -> int:
        return len(self._identifiers)

    def add(self, identifiers: Sequence[str]) -> Rows:
        """Return the rows of ``identifiers``, giving new ones the next rows."""
        rows, known = self._rows, self._identifiers
        found = np.array([rows.get(each, -1) for each in identifiers], dtype=np.int32)
        for place in np.flatnonzero(found < 0).tolist():
            row = found[place] = rows.setdefault(identifiers[place], len(known))
            if row == len(known):
                known.append(identifiers[place])
        return found

    def forget(self, identifier: str) -> int:
        """Drop an id and return the row it had, -1 if it had none; it is given a new one should it return."""
        row = self._rows.pop(identifier, -1)
        if row >= 0:
            self._identifiers[row] = ""
        return row

    def identifiers(self) -> list[str]:
        """Return all ids in row order, ``""`` where one was forgotten."""
        return list(self._identifiers)

    def since(self, row: int) -> list[str]:
        """Return the ids from ``row`` on, in row order."""
        return self._identifiers[row:]
