"""What a local platform is connected to: Kafka, MongoDB, Redis, a snapshot store. Nothing = all is embedded.

``<home>/backing.json`` keeps it, readable by its owner alone, so that commands about a home find what it holds.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from sluice.errors import InvalidSetting
from sluice.settings import PREFIX, Settings

FIELDS: Final = (
    "kafka",
    "kafka_properties_file",
    "mongo_url",
    "mongo_url_file",
    "mongo_database",
    "redis_url",
    "redis_url_file",
    "store",
)
_FILES: Final = ("kafka_properties_file", "mongo_url_file", "redis_url_file")
NONE: Final = Settings()


def connected(settings: Settings) -> bool:
    """Return whether anything is not embedded."""
    return any(getattr(settings, field) for field in FIELDS if field != "mongo_database")


def described(settings: Settings) -> str:
    """Return what it is connected to, in words and without addresses; empty = all is embedded."""
    mongo = settings.mongo_url or settings.mongo_url_file
    parts = {"Kafka": settings.kafka, "MongoDB": mongo, "Redis": mongo, "a snapshot store": settings.store}
    return ", ".join(name for name, given in parts.items() if given)


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that connect a service likewise."""
    return {
        PREFIX + field.upper(): str(getattr(settings, field)) for field in FIELDS if getattr(settings, field)
    }


def chosen(home: Path, given: Settings) -> Settings:
    """Return ``given``, its files and folders absolute; if it names nothing, what ``home`` keeps."""
    return _absolute(given, home) if connected(given) else settings_of(home)


def keep(home: Path, settings: Settings) -> None:
    """Keep in ``home`` what its platform is connected to."""
    if connected(settings):
        document = {field: getattr(settings, field) for field in FIELDS}
        _write_private(_file(home), msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def settings_of(home: Path) -> Settings:
    """Return the settings of the platform in ``home``: what it was last connected to, or none.

    Raises :class:`InvalidSetting` if the file is damaged.
    """
    try:
        kept = msgspec.json.decode(_file(home).read_bytes(), type=dict[str, str])
        known = {field: value for field, value in kept.items() if field in FIELDS}
        return msgspec.convert({**known, "home": str(home)}, Settings)
    except FileNotFoundError:
        return Settings(home=str(home))
    except msgspec.MsgspecError as error:
        raise InvalidSetting(
            f"{_file(home)} is damaged: {error}; give sluice up its --kafka, --mongo and --redis once more"
        ) from error


def _file(home: Path) -> Path:
    return home / "backing.json"


def _absolute(settings: Settings, home: Path) -> Settings:
    """Return settings that mean the same in every working directory."""
    files = {field: str(Path(value).absolute()) for field in _FILES if (value := getattr(settings, field))}
    if settings.store and "://" not in settings.store:
        files["store"] = str(Path(settings.store).absolute())
    return msgspec.structs.replace(settings, home=str(home), **files)


def _write_private(path: Path, data: bytes) -> None:
    """Replace a file at once; it may hold passwords, so nobody else ever reads it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
