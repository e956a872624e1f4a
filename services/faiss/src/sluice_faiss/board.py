"""Where workers tell each other what they hold, so that any of them can speak for the pod."""

import os
import shutil
from pathlib import Path

import msgspec

from sluice_faiss.wanted import WorkerState

_STATE = msgspec.json.Decoder(WorkerState)


class Board:
    """One small file per worker in a folder that :meth:`wipe` empties before the workers start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wipe(self) -> None:
        """Forget the workers of an earlier run."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, state: WorkerState) -> None:
        """Publish this process's state."""
        own = self._folder / f"{os.getpid()}.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = own.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.rename(own)

    def read(self) -> list[WorkerState]:
        """Return the states of the workers that live."""
        return [
            _STATE.decode(path.read_bytes())
            for path in self._folder.glob("*.json")
            if Path(f"/proc/{path.stem}").exists() or not Path("/proc/self").exists()
        ]
