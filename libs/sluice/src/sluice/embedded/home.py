"""Where the embedded mode keeps everything, below one folder."""

from pathlib import Path
from typing import Final

from sluice.embedded.database import Database
from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import model_database
from sluice.embedded.sources import source_database
from sluice.topics import topics_of

PARTITIONS: Final = 2


class Home:
    """Opens the embedded adapters' files; ``model`` keys are ``<namespace>.<name>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
