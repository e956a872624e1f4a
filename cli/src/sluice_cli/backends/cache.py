"""What backends are made of, fetched and built once: ``${SLUICE_CACHE:-~/.cache/sluice}/backends``."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT_CACHE = "~/.cache/sluice"


def folder() -> Path:
    """Return where everything is kept; ``SLUICE_CACHE`` moves it."""
    return Path(os.environ.get("SLUICE_CACHE") or DEFAULT_CACHE).expanduser().absolute() / "backends"


def once(name: str, sources: list[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder that ``make`` filled, made if it is not there yet.

    ``name`` tells the version; ``sources`` are the files it is made from, so that a change of them makes it
    anew. Processes that ask at once wait for the first; a folder that is there is whole.
    """
    made = folder() / f"{name}-{_digest(sources)}"
    if made.is_dir():
        return made
    with locked(f"{name}.lock"):
        if not made.is_dir():
            _make(made, make)
    return made


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock file of the cache; who else wants it waits."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _make(made: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{made.name}-", dir=made.parent) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        make(new)
        new.rename(made)


def _digest(sources: list[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
