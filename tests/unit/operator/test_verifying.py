"""What is verified beside the passes: none of them waits long, each snapshot is read once, one at a time."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sluice.encoder import MeanEncoder
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot import writer
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.manifest import Manifest, digest_of
from sluice_operator.verifying import VerifiedEntries

DEADLINE_S = 10.0


def unit_of(name: str) -> Callable[[Path], Manifest]:
    content = UnitContent(
        parts={"items": VectorsContent(identifiers=["a", "b"], matrix=np.eye(2, dtype=np.float32))},
        encoder=MeanEncoder(np.zeros(2, dtype=np.float32), decay=0.9),
    )
    provenance = {
        "id": name, "model": "default.home", "parent": None, "algorithm": "GMF", "parameters": {},
        "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0, "offsets": {}, "interactions": 0,
        "metrics": {},
    }  # fmt: skip
    return lambda directory: writer.write(directory, content, provenance)


class Store:
    """A store whose answers are given by hand."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Exception] = {}
        self.free = threading.Event()
        self.free.set()

    def verify(self, snapshot: str, digest: str) -> None:
        self.asked.append(snapshot)
        assert self.free.wait(DEADLINE_S)
        if snapshot in self.answers:
            raise self.answers[snapshot]


def entry(name: str, digest: str = "d") -> Any:
    return SimpleNamespace(id=name, digest=digest)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def verified(store: Store, tmp_path: Path) -> VerifiedEntries:
    return VerifiedEntries(store, tmp_path, patience_s=0.05)  # type: ignore[arg-type]


def until_true(verified: VerifiedEntries, name: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not verified(entry(name)):
        assert time.monotonic() < deadline


def test_a_sound_snapshot_is_verified_once(store: Store, verified: VerifiedEntries) -> None:
    until_true(verified, "s1")
    assert verified(entry("s1"))
    assert store.asked == ["s1"]


def test_an_unsound_snapshot_is_refused_once(store: Store, verified: VerifiedEntries) -> None:
    store.answers["s1"] = SnapshotRefused("broken")
    assert not verified(entry("s1"))
    until_true(verified, "s2")
    assert not verified(entry("s1"))
    assert store.asked == ["s1", "s2"]


def test_a_refused_snapshot_is_read_again_after_a_rest(store: Store, tmp_path: Path) -> None:
    verified = VerifiedEntries(store, tmp_path, patience_s=0.05, again_s=0.01)  # type: ignore[arg-type]
    store.answers["s1"] = SnapshotRefused("broken")
    assert not verified(entry("s1"))
    del store.answers["s1"]
    until_true(verified, "s1")


def test_another_snapshot_of_the_same_name_is_read_itself(store: Store, verified: VerifiedEntries) -> None:
    until_true(verified, "s1")
    store.answers["s1"] = SnapshotRefused("broken")
    assert not verified(entry("s1", "other"))
    assert store.asked == ["s1", "s1"]


def test_answers_that_nobody_asks_for_are_forgotten(store: Store, tmp_path: Path) -> None:
    verified = VerifiedEntries(store, tmp_path, patience_s=0.05, again_s=0.0)  # type: ignore[arg-type]
    for number in range(5):
        verified(entry(f"s{number}"))
    assert len(verified._sound) <= 1


def test_a_store_that_is_not_mounted_yet_refuses_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    verified = VerifiedEntries(store, tmp_path, patience_s=0.05)
    made = store.publish("s1", unit_of("s1"))
    (tmp_path / "store").rename(tmp_path / "unmounted")
    snapshot = entry("s1", digest_of(made))
    assert not verified(snapshot)
    (tmp_path / "unmounted").rename(tmp_path / "store")
    deadline = time.monotonic() + DEADLINE_S
    while not verified(snapshot):
        assert time.monotonic() < deadline


def test_a_snapshot_that_cannot_be_read_now_is_asked_for_again(
    store: Store, verified: VerifiedEntries
) -> None:
    store.answers["s1"] = StorageUnavailable("away")
    assert not verified(entry("s1"))
    until_true(verified, "s2")
    del store.answers["s1"]
    until_true(verified, "s1")


def test_a_long_read_holds_no_pass_up_and_others_wait_for_it(store: Store, verified: VerifiedEntries) -> None:
    store.free.clear()
    for _ in range(2):
        assert not verified(entry("s1"))
        assert not verified(entry("s2"))
    assert store.asked == ["s1"]
    store.free.set()
    until_true(verified, "s1")
    until_true(verified, "s2")
    assert store.asked == ["s1", "s2"]
