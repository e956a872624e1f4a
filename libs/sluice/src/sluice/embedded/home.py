"""Where the embedded mode keeps everything, below one folder."""

import fcntl
from pathlib import Path
from typing import IO, Final

from sluice.embedded.database import Database
from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import model_database
from sluice.embedded.sources import source_database
from sluice.errors import InvalidSetting
from sluice.topics import topics_of

PARTITIONS: Final = 2


def lock(folder: Path) -> IO[str]:
    """Return a folder's lock, held until closed or the process ends; raises :class:`InvalidSetting` if it is held.

    Two platforms in one home, or two trainers in one folder, would cut off each other's journal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / "lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise InvalidSetting(
            f"{folder} is in use by another process; stop it or choose another --home"
        ) from error
    return stream


class Home:
    """Opens the embedded adapters' files; ``model`` keys are ``<namespace>.<name>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def log(self, source: str) -> EmbeddedLog:
        """Return the event log with the topics of ``source`` created."""
        log = EmbeddedLog(self.folder / "log.db")
        log.create_topics(dict.fromkeys(topics_of(source), PARTITIONS))
        return log

    def source(self, name: str) -> Database:
        """Return the database of one source."""
        return source_database(self.folder / f"source-{name}.db")

    def model(self, key: str) -> Database:
        """Return the database of one model."""
        return model_database(self.folder / f"model-{key}.db")

    def snapshots(self, key: str) -> Path:
        """Return the snapshot store of one model."""
        return self.folder / "snapshots" / key

    def trainer(self, key: str) -> Path:
        """Return the folder of a trainer's journal and checkpoints."""
        return self.folder / "trainer" / key

    def rollout(self, key: str) -> Path:
        """Return the file of the local controller's state, commands and notes."""
        return self.folder / f"rollout-{key}.db"
