"""Embedded adapters of the controller's own ports: state, commands and notes of one model on SQLite."""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from sluice.embedded.database import Database
from sluice.errors import Conflict
from sluice_operator.rollout.observation import Command
from sluice_operator.rollout.state import CONSUMED_KEPT, Note, NoteType, RolloutState

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS status (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER, document BLOB);
CREATE TABLE IF NOT EXISTS commands (sequence INTEGER PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS numbered_notes (
    sequence INTEGER PRIMARY KEY, at REAL NOT NULL, epoch INTEGER NOT NULL, type TEXT NOT NULL,
    reason TEXT NOT NULL, message TEXT NOT NULL);
"""


class RecordedNote(NamedTuple):
    """One decision as told; ``at`` is Unix seconds."""

    sequence: int
    at: float
    epoch: int
    note: Note


class EmbeddedRollout:
    """:class:`~sluice_operator.controller.StatusStore`, ``Commands`` and ``Notes`` in one file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def read(self) -> tuple[int, RolloutState]:
        """See :class:`~sluice_operator.controller.StatusStore`."""
        row = self._database.read_one("SELECT version, document FROM status")
        return (
            (0, RolloutState()) if row is None else (row[0], msgspec.json.decode(row[1], type=RolloutState))
        )

    def write(self, state: RolloutState, version: int) -> None:
        """See :class:`~sluice_operator.controller.StatusStore`."""
        with self._database.writing() as connection:
            present, _ = self.read()
            if present != version:
                raise Conflict(f"the rollout state is at version {present}, not {version}; decide anew")
            connection.execute(
                "INSERT OR REPLACE INTO status VALUES (1, ?, ?)", (version + 1, msgspec.json.encode(state))
            )

    def ask(self, command: Command) -> None:
        """Append a command."""
        with self._database.writing() as connection:
            connection.execute("INSERT INTO commands (document) VALUES (?)", (msgspec.json.encode(command),))

    def pending(self) -> tuple[Command, ...]:
        """See :class:`~sluice_operator.controller.Commands`."""
        rows = self._database.read(
            "SELECT document FROM commands ORDER BY sequence DESC LIMIT ?", (CONSUMED_KEPT,)
        )
        return tuple(msgspec.json.decode(document, type=Command) for (document,) in reversed(rows))

    def record(self, note: Note) -> bool:
        """See :class:`~sluice_operator.controller.Notes`."""
        with self._database.writing() as connection:
            inserted = connection.execute(
                "INSERT OR IGNORE INTO numbered_notes VALUES (?, ?, ?, ?, ?, ?)",
                (note.number, note.at, note.epoch, note.type.value, note.reason, note.message),
            )
        return inserted.rowcount > 0

    def notes(self, after: int = 0) -> list[RecordedNote]:
        """Return the notes with a sequence above ``after``, oldest first."""
        rows = self._database.read(
            "SELECT sequence, at, epoch, type, reason, message FROM numbered_notes"
            " WHERE sequence > ? ORDER BY sequence",
            (after,),
        )
        return [
            RecordedNote(
                number,
                at,
                epoch,
                Note(type=NoteType(kind), reason=reason, message=message, number=number, epoch=epoch, at=at),
            )
            for number, at, epoch, kind, reason, message in rows
        ]
