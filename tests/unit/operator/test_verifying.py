"""What is verified beside the passes: none of them waits long, each snapshot is read once, one at a time."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice_operator.verifying import VerifiedEntries

DEADLINE_S = 10.0


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


def entry(name: str) -> Any:
    return SimpleNamespace(id=name, digest="d")


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
