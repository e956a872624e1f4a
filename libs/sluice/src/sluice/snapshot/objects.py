"""Folders of objects at an fsspec URL: bounded calls, and one sentence for each thing that goes wrong.

The file system is made anew in a forked child: connections and event loops do not survive a fork. The parent's
stays referenced there, for its finalizer would wait for a loop that does not run. Nothing is cached, so what
others write is seen; messages name the place but never a credential.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from sluice.errors import InvalidSetting, StorageUnavailable

CHUNK: Final = 4 << 20
"""Bytes that are asked for at a time."""

_S3: Final = ("s3", "s3a")
_WITHOUT_FOLDERS: Final = (*_S3, "gs", "gcs", "az", "abfs", "abfss", "oss", "memory")
_RETRIES: Final = 2
_MISSING: Final = ("", "NoSuchKey")
"""What S3 says of a file that is not there; any other 404 is not S3's, or means the bucket."""
_S3_OPTIONS: Final[dict[str, Any]] = {
    "config_kwargs": {"connect_timeout": 3, "read_timeout": 8, "retries": {"total_max_attempts": 1}}
}
"""Credentials, region and endpoint come from the environment, as botocore reads it: AWS_ENDPOINT_URL and others."""
_S3_UPLOAD: Final[dict[str, Any]] = {"chunksize": 16 << 20, "max_concurrency": 2}
_UPLOAD_S: Final = 30.0
_SLOWEST: Final = 512 << 10
"""A file is uploaded within that time and a second for so many bytes: the timeouts above end no stalled write."""


class Objects:
    """The folders right below ``base``, each of files alone. What is missing raises FileNotFoundError."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._scheme = base.partition("://")[0]
        self.place = f"{self._scheme}://{urlsplit(base).netloc}"
        self._pid, self._opened = 0, (None, "")
        self._inherited: list[Any] = []
        try:
            fsspec.get_filesystem_class(self._scheme)  # imported here and now: a child inherits it
        except (ValueError, ImportError) as error:
            raise InvalidSetting(
                f"{self._scheme}:// is no storage known here; SLUICE_STORE is a folder or s3://bucket/prefix"
            ) from error

    def url(self, folder: str) -> str:
        """Return the URL of a folder."""
        return f"{self._base}/{folder}"

    def folders(self) -> set[str]:
        """Return the names of all folders, and of those of which only an unfinished upload is left."""
        with self._asked() as (files, path):
            try:
                found = {_name(each["name"]) for each in files.ls(path, detail=True)} - {_name(path)}
            except FileNotFoundError as error:
                if _code(error) not in _MISSING:
                    raise
                found = set()
            return found | {key[len(path) :].split("/")[1] for key, _ in _unfinished(files, path)}

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file in a folder."""
        with self._asked() as (files, path):
            listed = files.ls(f"{path}/{folder}", detail=True)
            return {
                _name(each["name"]): each["size"]
                for each in listed
                if each["type"] == "file" and not each["name"].endswith("/")
            }

    def read(self, folder: str, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` to ``end`` or its end."""
        with self._asked() as (files, path):
            data: bytes = files.cat_file(f"{path}/{folder}/{name}", start=start, end=end)
            return data

    def write(self, folder: str, file: Path) -> None:
        """Write a local file into a folder under its own name; it is there as a whole, or not."""
        with self._asked() as (files, path):
            if self._scheme not in _WITHOUT_FOLDERS:
                files.makedirs(f"{path}/{folder}", exist_ok=True)
            _put(files, file, f"{path}/{folder}/{file.name}", _S3_UPLOAD if self._scheme in _S3 else {})

    def has(self, folder: str, name: str) -> bool:
        """Return whether a file is there."""
        try:
            return name in self.sizes(folder)
        except FileNotFoundError:
            return False

    def delete(self, folder: str, first: str, keep: Collection[str] = ()) -> None:
        """Delete a folder, ``first`` before its other files, and what unfinished uploads have left of it.

        With ``keep``, files of these names stay, and so does the folder.
        """
        with suppress(FileNotFoundError), self._asked() as (files, path):
            place = f"{path}/{folder}"
            self.drop_unfinished(folder)
            listed = [each["name"] for each in files.ls(place, detail=True) if each["type"] == "file"]
            for each in sorted(listed, key=lambda name: _name(name) != first):
                if _name(each) not in keep:
                    files.rm_file(each)
            if not keep and self._scheme not in _WITHOUT_FOLDERS:
                files.rmdir(place)

    def drop_unfinished(self, folder: str) -> None:
        """Delete what uploads that were cut off have left of a folder: nobody sees it, somebody pays for it."""
        with self._asked() as (files, path):
            for key, upload in _unfinished(files, f"{path}/{folder}"):
                bucket, _, rest = key.partition("/")
                files.abort_mpu(bucket, rest, upload)

    def _connected(self) -> tuple[Any, str]:
        if self._pid != os.getpid():
            options = _S3_OPTIONS if self._scheme in _S3 else {}
            files, path = fsspec.core.url_to_fs(
                self._base, skip_instance_cache=True, use_listings_cache=False, **options
            )
            if self._scheme in _S3:
                files.retries = _RETRIES
            self._inherited.append(self._opened)
            self._opened, self._pid = (files, path.rstrip("/")), os.getpid()
        return self._opened

    @contextmanager
    def _asked(self) -> Iterator[tuple[Any, str]]:
        """Translate what a file system raises: each kind has its own library's errors beside OSError."""
        try:
            yield self._connected()
        except StorageUnavailable:
            raise
        except FileNotFoundError as error:
            if _code(error) in _MISSING:
                raise
            raise StorageUnavailable(self._sentence(error)) from error
        except Exception as error:
            raise StorageUnavailable(self._sentence(error)) from error

    def _sentence(self, error: Exception) -> str:
        code = _code(error) or type(error).__name__
        if code == "NoSuchBucket":
            return f"{self.place} does not exist; create it or correct SLUICE_STORE"
        if isinstance(error, PermissionError) or code in ("NoCredentialsError", "403", "Forbidden"):
            return f"{self.place} refuses access ({code}); check the credentials and what they may do"
        return f"{self.place} cannot be used now ({code}); check its endpoint"


def _put(files: Any, file: Path, place: str, options: dict[str, Any]) -> None:
    """Upload a file; an upload that stalls is given up, where the storage's client can be told to."""
    if isinstance(files, AsyncFileSystem):
        patience_s = _UPLOAD_S + file.stat().st_size / _SLOWEST
        sync(files.loop, files._put_file, str(file), place, timeout=patience_s, **options)
    else:
        files.put_file(str(file), place, **options)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _code(error: BaseException) -> str:
    """Return S3's own word for an error, from the response that lies behind it; empty without."""
    behind: BaseException | None = error
    while behind is not None:
        response = getattr(behind, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        behind = behind.__cause__ or behind.__context__
    return ""


def _unfinished(files: Any, path: str) -> list[tuple[str, str]]:
    """Return (bucket/key, upload id) of the uploads below ``path`` that nobody finished, where there are such."""
    if not hasattr(files, "list_multipart_uploads"):
        return []
    bucket = path.partition("/")[0]
    try:
        uploads = files.list_multipart_uploads(bucket)
    except (
        PermissionError,
        FileNotFoundError,
        NotImplementedError,
    ):  # not all S3 knows them, or tells a reader
        return []
    found = [(f"{bucket}/{each['Key']}", each["UploadId"]) for each in uploads]
    return [each for each in found if each[0].startswith(f"{path}/")]
