"""Every snapshot store does the same: what is published is read back sound, what is damaged is refused."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_storage import Bucket, bucket

from sluice.encoder import MeanEncoder
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot import writer
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.entry import entry_of
from sluice.snapshot.manifest import MANIFEST, Manifest
from sluice.snapshot.objects import Objects
from sluice.snapshot.store import Origins, SnapshotStore, open_store
from sluice.snapshot.unit import Unit
from sluice.snapshot.verify import verify

MODEL = "default.home"
MATRIX = "items.matrix.npy"


def unit_writer(name: str, rows: int = 30, created: float = 0.0) -> Callable[[Path], Manifest]:
    """Return what writes a unit of so many items."""
    matrix = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
    content = UnitContent(
        parts={"items": VectorsContent(identifiers=[f"i{row}" for row in range(rows)], matrix=matrix)},
        encoder=MeanEncoder(np.zeros(8, dtype=np.float32), decay=0.9),
    )
    provenance = {
        "id": name, "model": MODEL, "parent": None, "algorithm": "GMF", "parameters": {}, "spec_hash": "x",
        "seed": 0, "code_version": "0", "created": created, "offsets": {}, "interactions": 0, "metrics": {},
    }  # fmt: skip
    return lambda directory: writer.write(directory, content, provenance)


class Place:
    """A kind of store: opened by machines that each have a home of their own, damaged behind their backs."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path, self._homes = tmp_path, 0
        self.url = ""

    def machine(self, model: str = MODEL) -> SnapshotStore:
        self._homes += 1
        return open_store(self.url, model, self._tmp_path / f"home-{self._homes}")

    def get(self, snapshot: str, name: str) -> bytes:
        raise NotImplementedError

    def put(self, snapshot: str, name: str, data: bytes) -> None:
        raise NotImplementedError

    def delete(self, snapshot: str, name: str) -> None:
        raise NotImplementedError


class Folder(Place):
    def __init__(self, tmp_path: Path, url: Callable[[Path], str]) -> None:
        super().__init__(tmp_path)
        self._folder = tmp_path / "a store #1?"
        self.url = url(self._folder)

    def _path(self, snapshot: str, name: str) -> Path:
        return self._folder / MODEL / snapshot / name

    def get(self, snapshot: str, name: str) -> bytes:
        return self._path(snapshot, name).read_bytes()

    def put(self, snapshot: str, name: str, data: bytes) -> None:
        self._path(snapshot, name).parent.mkdir(parents=True, exist_ok=True)
        self._path(snapshot, name).write_bytes(data)

    def delete(self, snapshot: str, name: str) -> None:
        self._path(snapshot, name).unlink()


class S3(Place):
    def __init__(self, tmp_path: Path, made: Bucket) -> None:
        super().__init__(tmp_path)
        self._bucket, self.url = made, f"{made.url}/some folder"

    def _key(self, snapshot: str, name: str) -> str:
        return f"some folder/{MODEL}/{snapshot}/{name}"

    def get(self, snapshot: str, name: str) -> bytes:
        return self._bucket.get(self._key(snapshot, name))

    def put(self, snapshot: str, name: str, data: bytes) -> None:
        self._bucket.put(self._key(snapshot, name), data)

    def delete(self, snapshot: str, name: str) -> None:
        self._bucket.delete(self._key(snapshot, name))


@pytest.fixture(scope="module")
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


FOLDERS: dict[str, Callable[[Path], str]] = {
    "folder": str,
    "file": Path.as_uri,
    "fsspec": lambda path: f"local://{path}",  # stands for all kinds of storage that have real folders
}


@pytest.fixture(params=[*FOLDERS, "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        return S3(tmp_path, Bucket(request.getfixturevalue("s3").server))
    return Folder(tmp_path, FOLDERS[request.param])


@pytest.fixture
def store(place: Place) -> SnapshotStore:
    return place.machine()


def test_a_store_that_holds_nothing_may_not_be_mounted_and_refuses_nothing_for_that(
    place: Place, store: SnapshotStore
) -> None:
    assert store.ids() == set()
    for look in (store.manifest, store.survey, store.verify, store.open):
        with pytest.raises(
            StorageUnavailable, match="store is empty although gone is named; mount its volume"
        ):
            look("gone")
    store.delete("gone")
    place.machine().publish("s1", unit_writer("s1"))
    for look in (store.manifest, store.survey, store.verify, store.open):
        with pytest.raises(SnapshotRefused, match="gone is not in the store"):
            look("gone")


def test_a_published_snapshot_is_read_on_another_machine(place: Place, tmp_path: Path) -> None:
    made = place.machine().publish("s1", unit_writer("s1"))
    store, copy = place.machine(), tmp_path / "copy" / "s1"
    digest = entry_of("", made, 1).digest
    assert store.ids() == {"s1"}
    assert store.manifest("s1", digest) == store.survey("s1", digest) == store.verify("s1", digest) == made
    copy.mkdir(parents=True)
    store.fetch(made, copy)
    assert verify(copy, digest) == made
    folder = store.open("s1", digest)
    assert folder == store.local("s1")
    assert verify(folder, digest) == made
    assert len(Unit.open(folder).items.ids) == 30


def test_the_uri_leads_to_the_snapshot_without_any_setting(place: Place, tmp_path: Path) -> None:
    store = place.machine()
    entry = entry_of(store.uri("s1"), store.publish("s1", unit_writer("s1")), 1)
    assert Origins(None, tmp_path / "nowhere").of(entry).verify("s1", entry.digest).id == "s1"
    assert Origins(store, tmp_path / "nowhere").of(entry) is store


def test_models_share_a_store_and_see_their_own(place: Place) -> None:
    place.machine().publish("s1", unit_writer("s1"))
    other = place.machine("default.homer")
    assert other.ids() == set()
    other.delete("s1")
    assert place.machine().ids() == {"s1"}


def test_what_is_deleted_is_gone_here_and_elsewhere(place: Place) -> None:
    store = place.machine()
    for name in ("s1", "s2"):
        store.publish(name, unit_writer(name))
    store.delete("s1")
    assert store.ids() == place.machine().ids() == {"s2"}
    with pytest.raises(SnapshotRefused, match="s1 is not in the store"):
        store.open("s1")
    assert not store.local("s1").exists()


def test_a_snapshot_published_again_replaces_what_was_left_of_it(place: Place) -> None:
    place.put("s1", "half.npy", b"half")
    place.put("s1", MATRIX, b"half")
    store = place.machine()
    assert store.ids() == {"s1"}
    made = store.publish("s1", unit_writer("s1"))
    assert place.machine().verify("s1") == made


def test_the_same_snapshot_published_again_leaves_it_whole_at_every_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that was replaced may wake up and publish what its successor has entered already."""
    made = place.machine().publish("s1", unit_writer("s1"))
    late = place.machine()
    monkeypatch.setattr(Objects, "write", None)
    monkeypatch.setattr(Objects, "delete", None)
    assert late.publish("s1", unit_writer("s1")) == made
    assert late.verify("s1") == made


def test_a_sound_snapshot_of_that_name_is_never_replaced_by_another(place: Place) -> None:
    """Cut by two trainers, it differs in when: the catalog has the digest of the one that was entered."""
    made = place.machine().publish("s1", unit_writer("s1"))
    digest, late = entry_of("", made, 2).digest, place.machine()
    assert late.publish("s1", unit_writer("s1", created=1.0)) == made
    for machine in (late, place.machine()):
        assert machine.verify("s1", digest) == verify(machine.open("s1", digest), digest) == made
    assert late.ids() == {"s1"}


def test_an_unsound_snapshot_of_that_name_is_replaced(place: Place) -> None:
    place.machine().publish("s1", unit_writer("s1"))
    place.put("s1", MATRIX, place.get("s1", MATRIX)[:-1] + b"\x00")
    made = place.machine().publish("s1", unit_writer("s1", created=1.0))
    assert made.created == 1.0
    assert place.machine().verify("s1") == made


def test_a_trainer_that_is_overtaken_while_it_publishes_leaves_what_the_other_has_put_there(
    place: Place,
) -> None:
    late, others = place.machine(), []

    def slow(directory: Path) -> Manifest:
        made = unit_writer("s1", created=1.0)(directory)
        others.append(place.machine().publish("s1", unit_writer("s1")))
        return made

    assert late.publish("s1", slow) == others[0]
    assert place.machine().verify("s1") == others[0]


def test_a_forked_child_publishes_and_its_parent_goes_on(place: Place) -> None:
    store = place.machine()
    store.publish("s1", unit_writer("s1"))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            store.publish("s2", unit_writer("s2"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.ids() == {"s1", "s2"}
    assert store.local("s2").is_dir(), "the parent of the next cut is at hand"
    assert store.verify("s2").id == "s2"


def test_who_reads_rests_after_each_mebibyte(place: Place, tmp_path: Path) -> None:
    store, rests = place.machine(), []
    store.publish("s1", unit_writer("s1", 40_000))
    made = store.verify("s1", rest=lambda: rests.append(1))
    assert len(rests) >= made.bytes >> 20


def refusals(store: SnapshotStore, digest: str | None, tmp_path: Path) -> str:
    """Return why a snapshot is refused: the same by all that read it whole."""
    with pytest.raises(SnapshotRefused) as verified:
        store.verify("s1", digest)
    with pytest.raises(SnapshotRefused):
        store.open("s1", digest)
    return str(verified.value)


DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "truncated": (lambda place: place.put("s1", MATRIX, place.get("s1", MATRIX)[:-1]), "bytes instead of"),
    "longer": (lambda place: place.put("s1", MATRIX, place.get("s1", MATRIX) + b"x"), "bytes instead of"),
    "flipped": (
        lambda place: place.put("s1", MATRIX, place.get("s1", MATRIX)[:-1] + b"\x00"),
        "wrong checksum",
    ),
    "missing": (lambda place: place.delete("s1", MATRIX), "missing"),
    "extra": (lambda place: place.put("s1", "x.npy", b"x"), "not in its manifest"),
    "no manifest": (lambda place: place.delete("s1", MANIFEST), "in the store|manifest.json"),
    "broken manifest": (lambda place: place.put("s1", MANIFEST, b"{"), "broken"),
    "large manifest": (lambda place: place.put("s1", MANIFEST, b" " * (2 << 20)), "1 MiB"),
    "other manifest": (
        lambda place: place.put("s1", MANIFEST, place.get("s2", MANIFEST)),
        "not the one in the catalog",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_with_its_reason(place: Place, tmp_path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    digest = entry_of("", place.machine().publish("s1", unit_writer("s1")), 1).digest
    place.machine().publish("s2", unit_writer("s2"))
    damage(place)
    found = refusals(place.machine(), digest, tmp_path)
    assert any(word in found for word in reason.split("|")), found
    assert place.machine().verify("s2").id == "s2"


def test_another_snapshots_manifest_is_refused_without_a_catalog_too(place: Place, tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        place.machine().publish(name, unit_writer(name))
    place.put("s1", MANIFEST, place.get("s2", MANIFEST))
    assert "holds snapshot s2" in refusals(place.machine(), None, tmp_path)


def test_what_cannot_be_written_raises_and_leaves_no_snapshot(place: Place) -> None:
    def full(directory: Path) -> Manifest:
        raise OSError(28, "No space left on device")

    store = place.machine()
    with pytest.raises(StorageUnavailable, match="s1 cannot be written: No space left on device; free the"):
        store.publish("s1", full)
    assert store.ids() == set()
    assert store.publish("s1", unit_writer("s1")) == place.machine().verify("s1")
