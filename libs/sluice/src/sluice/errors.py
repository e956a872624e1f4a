"""Errors that cross a module boundary.

Every message is one sentence that names the field (or file) and the fix; shells print it as it is.
"""


class SluiceError(Exception):
    """Base of all errors that Sluice raises on purpose."""


class InvalidRecord(SluiceError):
    """A record from outside breaks the contract; ``reason`` is a stable word for the dead-letter header."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidModel(SluiceError):
    """A RecommenderModel file breaks the contract; ``problems`` holds one sentence per field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class InvalidSetting(SluiceError):
    """An environment variable or option has an unusable value."""


class SnapshotRefused(SluiceError):
    """A snapshot failed verification (missing file, wrong size, wrong checksum, wrong schema, bad matrix)."""


class StaleEpoch(SluiceError):
    """A write carried an epoch below the one already seen; the writer has been replaced and must stop."""


class Conflict(SluiceError):
    """The stored version changed since it was read; decide again from what is there now."""


class StorageUnavailable(SluiceError):
    """A store or log cannot take or give data now; what was not acknowledged may be tried again."""


class OffsetOutOfRange(SluiceError):
    """A position that the log cannot read from: records before ``begin`` are deleted, ``end`` is the log's end."""

    def __init__(self, topic: str, partition: int, position: int, begin: int, end: int) -> None:
        super().__init__(
            f"{topic}[{partition}] holds offsets {begin} to {end}, not {position}; check its retention,"
            " and whether it was created anew"
        )
        self.topic, self.partition, self.position, self.begin, self.end = (
            topic,
            partition,
            position,
            begin,
            end,
        )
