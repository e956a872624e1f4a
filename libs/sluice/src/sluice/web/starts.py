"""Which worker processes have started: they tell the process that forked them, through a pipe."""

import os
import struct
from typing import Final

_PID: Final = struct.Struct("=q")


class Starts:
    """Make it before the fork; children :meth:`tell`, the parent asks what was :meth:`told`."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._told: set[int] = set()

    def tell(self) -> None:
        """Say that this process has started."""
        os.write(self._writing, _PID.pack(os.getpid()))  # so short a write is never mixed with another

    def told(self) -> set[int]:
        """Return the ids of all processes that said so, also of those that have ended since."""
        while True:
            try:
                said = os.read(self._reading, 512 * _PID.size)
            except BlockingIOError:
                return self._told
            self._told.update(pid for (pid,) in _PID.iter_unpack(said))
