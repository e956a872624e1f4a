"""The fence of the local fleet: one actor at a time, and never an old one after a newer one."""

import fcntl
from pathlib import Path

import pytest

from sluice.errors import StaleEpoch, StorageUnavailable
from sluice_cli import fleet
from sluice_cli.fleet import Files, LocalFleet, LocalPod
from sluice_operator.rollout.actions import GroupName


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.set_pods([LocalPod(name="stable-0", group=GroupName.STABLE, url="http://127.0.0.1:1")])
    return made


def test_a_lower_epoch_changes_nothing(tmp_path: Path, files: Files) -> None:
    local = LocalFleet(tmp_path)
    local.want(GroupName.STABLE, ("s2",), 5)
    local.scale_canary(1, 5)
    for act in (
        lambda: local.want(GroupName.STABLE, ("s1",), 4),
        lambda: local.scale_canary(0, 4),
    ):
        with pytest.raises(StaleEpoch, match="4 was replaced by 5"):
            act()
    assert files.wanted("stable-0").read_bytes() == b'["s2"]'
    assert files.canary_replicas() == 1


def test_nobody_acts_between_the_comparison_and_the_act(files: Files) -> None:
    with files.fenced(5), (files.folder / "epoch.lock").open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_fence_that_somebody_else_holds_is_waited_for_and_then_named(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "FENCE_S", 0.02)
    with (files.folder / "epoch.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailable, match="holds the fleet's fence"), files.fenced(5):
            raise AssertionError("acted beside another controller")
    with files.fenced(5):
        pass


@pytest.mark.parametrize("damaged", [b"", b"\0\0", b"five", b"\xff"])
def test_a_damaged_epoch_stops_nobody_and_is_mended(files: Files, damaged: bytes) -> None:
    (files.folder / "epoch").write_bytes(damaged)
    with files.fenced(5):
        pass
    with pytest.raises(StaleEpoch, match="4 was replaced by 5"), files.fenced(4):
        raise AssertionError("acted although a newer one had")
