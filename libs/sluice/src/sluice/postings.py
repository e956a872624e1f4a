"""Which slots carry which word: an inverted index that is updated in place.

Needs pyroaring (compressed bitmaps), which only the services that hold an overlay depend on.
"""

from array import array
from collections.abc import Iterable

from pyroaring import BitMap

Posting = BitMap | int
"""The slots of one word; a single slot is kept as itself, because most distinct words have but one."""


class Postings:
    """Words interned as numbers, a bitmap of slots for each, and the words of each slot (4 bytes each)."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._postings: list[Posting] = []
        self._free: list[int] = []
        self._of_slot: list[bytes] = []

    def __len__(self) -> int:
        """Return how many distinct words there are."""
        return len(self._numbers)

    def replace(self, slot: int, words: Iterable[str]) -> None:
        """Give a slot these words instead of those it has; a new slot is the next after the last."""
        if slot == len(self._of_slot):
            self._of_slot.append(b"")
        old = array("I", self._of_slot[slot])
        new = array("I", [self._number(word) for word in words])
        for number in set(old).difference(new):
            self._remove(number, slot)
        for number in set(new).difference(old):
            self._add(number, slot)
        self._of_slot[slot] = new.tobytes()

    def slots(self, word: str) -> BitMap:
        """Return the slots that carry ``word``; not to be changed."""
        number = self._numbers.get(word)
        if number is None:
            return BitMap()
        posting = self._postings[number]
        return BitMap([posting]) if isinstance(posting, int) else posting

    def carries(self, slot: int, word: str) -> bool:
        """Return whether a slot carries ``word``."""
        number = self._numbers.get(word)
        if number is None:
            return False
        posting = self._postings[number]
        return posting == slot if isinstance(posting, int) else slot in posting

    def _number(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is not None:
            return number
        if self._free:
            number = self._free.pop()
            self._names[number], self._postings[number] = word, BitMap()
        else:
            number = len(self._names)
            self._names.append(word)
            self._postings.append(BitMap())
        self._numbers[word] = number
        return number

    def _add(self, number: int, slot: int) -> None:
        posting = self._postings[number]
        if isinstance(posting, int):
            self._postings[number] = BitMap([posting, slot])
        elif posting:
            posting.add(slot)
        else:
            self._postings[number] = slot

    def _remove(self, number: int, slot: int) -> None:
        posting = self._postings[number]
        if isinstance(posting, BitMap):
            posting.discard(slot)
        if isinstance(posting, int) or not posting:
            del self._numbers[self._names[number]]
            self._free.append(number)
