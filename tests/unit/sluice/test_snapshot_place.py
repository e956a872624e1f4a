"""Where a snapshot store's URL leads."""

from pathlib import Path

import pytest

from sluice.catalog import CatalogEntry
from sluice.errors import InvalidSetting, SnapshotRefused, StorageUnavailable
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.remote import RemoteStore
from sluice.snapshot.store import Origins, open_store, store_at

MODEL = "default.home"


def entry(uri: str) -> CatalogEntry:
    return CatalogEntry(
        id="s1", uri=uri, digest="", parent=None, algorithm="GMF", spec_hash="", epoch=1, created=0.0,
        interactions=0, bytes=0, metrics={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        (Path("/data/snapshots"), "/data/snapshots"),
        ("/data/snapshots", "/data/snapshots"),
        ("/data/snapshots/", "/data/snapshots"),
        ("file:///data/snapshots", "/data/snapshots"),
        ("file://localhost/data/snapshots/", "/data/snapshots"),
        ("file:/data/snapshots", "/data/snapshots"),
        ("file:///a%20b/%23%3F%25", "/a b/#?%"),
        ("/a b/#?%", "/a b/#?%"),
    ],
)
def test_a_folder_is_named_by_a_path_or_a_file_url(url: str | Path, folder: str, tmp_path: Path) -> None:
    store = open_store(url, MODEL, tmp_path)
    assert isinstance(store, FolderStore)
    assert store.local("s1") == Path(folder) / MODEL / "s1"
    again = Origins(None, tmp_path).of(entry(store.uri("s1")))
    assert again.local("s1") == store.local("s1")


def test_a_relative_folder_has_an_absolute_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("store", MODEL, tmp_path).uri("s1") == (tmp_path / "store" / MODEL / "s1").as_uri()


def test_a_bucket_is_named_by_its_url(tmp_path: Path) -> None:
    store = open_store("s3://bucket/some prefix/", MODEL, tmp_path)
    assert isinstance(store, RemoteStore)
    assert store.uri("s1") == "s3://bucket/some prefix/default.home/s1"
    assert store.local("s1") == tmp_path / "copies" / MODEL / "s1"
    assert Origins(None, tmp_path).of(entry(store.uri("s1"))).uri("s1") == store.uri("s1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:hunter2@bucket/prefix", "password"),
        ("s3://[bucket/prefix", "no URL"),
        ("gopher://hole/prefix", "gopher:// is no storage known here"),
        ("file://other-host/data", "file:///folder"),
    ],
)
def test_what_cannot_be_a_store_is_refused_without_telling_its_password(
    url: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=words) as refused:
        open_store(url, MODEL, tmp_path)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SnapshotRefused, match="s1 has an unusable URI in the catalog") as refused:
        Origins(None, tmp_path).of(entry(f"{url}/s1"))
    assert "hunter2" not in str(refused.value)


def test_any_other_storage_that_fsspec_knows_will_do(tmp_path: Path) -> None:
    store = store_at("memory://place/default.home", tmp_path)
    assert store.ids() == set()
    with pytest.raises(StorageUnavailable, match="store is empty although s1 is named"):
        store.survey("s1")
