"""Connection strings that may change while a process runs: the file of a mounted Secret is read at every look."""

from collections.abc import Callable
from pathlib import Path

from sluice.errors import InvalidSetting

Credential = Callable[[], str]
"""Returns what is to be connected with now. Never log it: it may hold a password."""


def credential(given: str, file: str, name: str) -> Credential | None:
    """Return where to look a connection string up; None if neither it nor a file is given.

    ``name`` is the setting's. Raises :class:`InvalidSetting` if both are given; the lookup does if the file cannot be
    read or is no text.
    """
    if given and file:
        raise InvalidSetting(f"{name} and {name}_FILE are both set; set one of them")
    if file:
        return lambda: _content(Path(file), name)
    return (lambda: given) if given else None


def properties(file: str) -> dict[str, str]:
    """Return the ``name=value`` lines of a file; blank lines and lines that begin with # are passed over.

    Raises :class:`InvalidSetting` naming the line that is neither.
    """
    if not file:
        return {}
    found = {}
    for number, line in enumerate(_content(Path(file), "SLUICE_KAFKA_PROPERTIES").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise InvalidSetting(f"SLUICE_KAFKA_PROPERTIES_FILE line {number} is not name=value; correct it")
        found[name.strip()] = value.strip()
    return found


def _content(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSetting(
            f"{name}_FILE cannot be read: {(error.strerror or str(error)).lower()}; check its mount"
        ) from error
    except UnicodeDecodeError:  # it holds what was read
        raise InvalidSetting(f"{name}_FILE is not UTF-8 text; write it anew") from None
