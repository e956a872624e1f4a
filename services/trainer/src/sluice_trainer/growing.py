"""Tables that grow without being copied: address space is reserved once, memory comes when a row is written.

Copying a table of 1,000,000 x 64 stops the trainer for up to a second (most of it the kernel handing out
fresh memory); a larger view of the same reservation costs nothing, and neither do rows that nobody uses yet.
"""

import contextlib
import mmap
import sys
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

_BYTES: Final = 1 << 36  # 64 GiB of address space a table
_NO_RESERVE: Final = (
    0x4000 if sys.platform == "linux" else 0
)  # MAP_NORESERVE: it may exceed the memory there is


class Grown:
    """``size`` rows of zeros to begin with; existing ones keep their place and their values for ever."""

    def __init__(self, width: int, dtype: DTypeLike) -> None:
        self._row = (width,)
        self._dtype = np.dtype(dtype)
        self._all = self._reserve()
        self.size = 0

    def _reserve(self) -> NDArray[Any]:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE  # private: a forked child has its own
        try:
            memory = mmap.mmap(-1, _BYTES, flags=flags)
        except OSError:  # address space is limited here: rows are copied when there are more
            return np.zeros((0, *self._row), dtype=self._dtype)
        if sys.platform == "linux":
            # After a fork, a row that changes copies its page. Before Linux 5.8 that is all 2 MiB of a huge one:
            # the first plan would copy the whole table. With small pages the fork takes 35 ms, not 18 (800 MB).
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_NOHUGEPAGE)
        rows = _BYTES // (self._dtype.itemsize * prod(self._row))
        return np.frombuffer(memory, dtype=self._dtype, count=rows * prod(self._row)).reshape(-1, *self._row)

    def grow(self, size: int) -> None:
        """Have at least ``size`` rows."""
        if size > len(self._all):
            more = np.zeros((max(size, len(self._all) + len(self._all) // 10), *self._row), dtype=self._dtype)
            more[: self.size] = self.rows
            self._all = more
        self.size = max(size, self.size)

    @property
    def rows(self) -> NDArray[Any]:
        """All rows, ``(size, width)``; a view, to be taken anew after growing."""
        return self._all[: self.size]

    def restore(self, rows: NDArray[Any]) -> None:
        """Become a copy of ``rows``."""
        self._all, self.size = self._reserve(), 0
        self.grow(len(rows))
        self.rows[:] = rows
