"""Fetching a public archive: bounded in size and time, checked, unpacked to known names only."""

import io
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

import urllib3
from msgspec import Struct

from sluice_cli.datasets.dataset import DatasetError

HOST: Final = "files.grouplens.org"
MAX_ARCHIVE_BYTES: Final = 32 * 1024 * 1024
MAX_MEMBER_BYTES: Final = 64 * 1024 * 1024
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 15.0
DEADLINE_SECONDS: Final = 120.0

Download = Callable[[str], bytes]


class Archive(Struct, frozen=True):
    """A zip file at ``url`` whose ``members`` (below ``folder``) make up a data set."""

    url: str
    folder: str
    members: tuple[str, ...]


LATEST_SMALL: Final = Archive(
    f"https://{HOST}/datasets/movielens/ml-latest-small.zip",
    "ml-latest-small",
    ("ratings.csv", "movies.csv", "tags.csv", "README.txt"),
)
ML_100K: Final = Archive(
    f"https://{HOST}/datasets/movielens/ml-100k.zip",
    "ml-100k",
    ("u.data", "u.item", "u.user", "u.genre", "README"),
)


def download(url: str) -> bytes:
    """Return the body at ``url``, at most :data:`MAX_ARCHIVE_BYTES` within :data:`DEADLINE_SECONDS`."""
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    retries = urllib3.Retry(connect=1, read=1, redirect=0, status=0)
    deadline = time.monotonic() + DEADLINE_SECONDS
    body = io.BytesIO()
    try:
        with _pool(url).request(
            "GET", url, timeout=timeout, retries=retries, preload_content=False
        ) as response:
            if response.status != 200:
                raise DatasetError(f"{url} answered {response.status} instead of 200; try again later")
            for chunk in response.stream(64 * 1024):
                body.write(chunk)
                if body.tell() > MAX_ARCHIVE_BYTES:
                    raise DatasetError(
                        f"{url} sends more than {MAX_ARCHIVE_BYTES} bytes; it is another archive now"
                    )
                if time.monotonic() > deadline:
                    raise DatasetError(f"{url} took longer than {DEADLINE_SECONDS:.0f} s; try again later")
    except urllib3.exceptions.HTTPError as error:
        raise DatasetError(
            f"{url} cannot be reached ({_cause(error)}); check the network or a proxy"
        ) from error
    return body.getvalue()


def _pool(url: str) -> urllib3.PoolManager:
    """Return a pool that goes through the environment's proxy where one is set for this host."""
    parts = urllib3.util.parse_url(url)
    proxy = urllib.request.getproxies().get(parts.scheme or "https")
    if proxy and not urllib.request.proxy_bypass(parts.host or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    return type(getattr(error, "reason", None) or error).__name__


def unpack(archive: Archive, data: bytes, folder: Path) -> None:
    """Write the archive's members, and nothing else, into ``folder``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            _check_names(archive, packed.namelist())
            for member in archive.members:
                (folder / member).write_bytes(_read(packed, f"{archive.folder}/{member}"))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DatasetError(f"{archive.url} is no intact zip file ({error}); try again later") from error


def _check_names(archive: Archive, names: list[str]) -> None:
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise DatasetError(f"{archive.url} holds the unsafe name {name[:80]!r}; it is refused")
    for member in archive.members:
        if f"{archive.folder}/{member}" not in names:
            raise DatasetError(f"{archive.url} lacks {archive.folder}/{member}; it is another archive now")


def _read(packed: zipfile.ZipFile, name: str) -> bytes:
    with packed.open(name) as handle:
        data = handle.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise DatasetError(f"{name} unpacks to more than {MAX_MEMBER_BYTES} bytes; it is refused")
    return data


def install(
    archive: Archive, directory: Path, check: Callable[[Path], object], get: Download = download
) -> Path:
    """Fetch ``archive`` into ``directory/<folder>``; its files appear there only once ``check`` accepts them."""
    target = directory / archive.folder
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{archive.folder}-", dir=directory) as staging:
            unpack(archive, get(archive.url), Path(staging))
            check(Path(staging))
            target.mkdir(exist_ok=True)
            for member in archive.members:
                (Path(staging) / member).replace(target / member)
    except OSError as error:
        raise DatasetError(
            f"{directory} cannot take the data set ({error}); set SLUICE_DATA_DIR to a writable folder"
        ) from error
    return target
