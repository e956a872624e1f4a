"""Checkpoints: all of one moment, or none of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sluice.errors import StorageUnavailable
from sluice_trainer import checkpoint
from sluice_trainer.checkpoint import Checkpoint, Position


def made(sequence: int) -> Checkpoint:
    return Checkpoint(
        position=Position(
            spec_hash="h",
            sequence=sequence,
            offsets={0: 10 * sequence, 1: 5},
            began={0: 0},
            fitted=True,
            interactions=sequence * 100,
            cut_age=1.25,
            cut_snapshot="s1",
        ),
        users=["ü", "a:b", ""],
        items=[str(number) for number in range(sequence)],
        letters={0: sequence, 1: 7},
        epoch=sequence,
        arrays={
            "learner.vectors": np.arange(12, dtype=np.float32).reshape(3, 4) + sequence,
            "learner.empty": np.empty((0, 50), dtype=np.int32),
            "window.evaluated": np.array(sequence),
            "popular.counts": np.array([0.5, np.inf, -0.0], dtype=np.float64),
        },
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    plain = all(
        getattr(one, name) == getattr(other, name)
        for name in ("position", "users", "items", "letters", "epoch")
    )
    assert set(one.arrays) == set(other.arrays)
    return plain and all(
        one.arrays[name].dtype == other.arrays[name].dtype
        and one.arrays[name].shape == other.arrays[name].shape
        and one.arrays[name].tobytes() == other.arrays[name].tobytes()
        for name in one.arrays
    )


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_without_checkpoints_there_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "never") is None
    assert checkpoint.oldest_sequence(tmp_path) == 0


def test_a_checkpoint_is_read_back_bit_for_bit(tmp_path):
    checkpoint.write(tmp_path, made(3))
    assert same(checkpoint.newest(tmp_path), made(3))


def test_a_folder_that_was_taken_away_is_not_made_anew(tmp_path):
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        checkpoint.write(tmp_path / "away", made(3))
    assert not (tmp_path / "away").exists()


def test_the_newest_counts_and_only_two_are_kept(tmp_path):
    for sequence in (1, 2, 9, 10, 1_000_000):
        checkpoint.write(tmp_path, made(min(sequence, 2000)))
    assert listed(tmp_path) == ["checkpoint-000000000010", "checkpoint-000000002000"]
    assert checkpoint.newest(tmp_path).position.sequence == 2000
    assert checkpoint.oldest_sequence(tmp_path) == 10


def test_whatever_file_of_the_newest_is_cut_or_flipped_the_older_one_counts(tmp_path):
    checkpoint.write(tmp_path, made(1))
    checkpoint.write(tmp_path, made(2))
    for path in sorted((tmp_path / "checkpoint-000000000002").iterdir()):
        data = path.read_bytes()
        for place in {*range(0, len(data), max(1, len(data) // 40)), len(data) - 1}:
            flipped = bytearray(data)
            flipped[place] ^= 1 << (place % 8)
            for damage in (bytes(flipped), data[:place]):
                path.write_bytes(damage)
                assert same(checkpoint.newest(tmp_path), made(1)), (path.name, place)
        path.unlink()
        assert same(checkpoint.newest(tmp_path), made(1))
        path.write_bytes(data)
    assert same(checkpoint.newest(tmp_path), made(2))


def test_a_damaged_checkpoint_does_not_count_as_one_of_the_two_that_are_kept(tmp_path):
    for sequence in (1, 2):
        checkpoint.write(tmp_path, made(sequence))
    (tmp_path / "checkpoint-000000000002" / "popular.counts.npy").write_bytes(b"damaged")
    oldest = checkpoint.write(tmp_path, made(3))
    assert listed(tmp_path) == ["checkpoint-000000000001", "checkpoint-000000000003"]
    assert oldest == made(1).position
    assert checkpoint.write(tmp_path, made(4)) == made(3).position


def test_if_none_is_sound_the_trainer_stops_instead_of_starting_from_nothing(tmp_path):
    checkpoint.write(tmp_path, made(1))
    (tmp_path / "checkpoint-000000000001" / "state.json").write_bytes(b"{}")
    with pytest.raises(StorageUnavailable, match=r"no checkpoint of 1 .* is sound"):
        checkpoint.newest(tmp_path)


@pytest.mark.parametrize("call", ["mkdir", "rename", "open"])
def test_a_full_disk_leaves_the_checkpoints_there_were(tmp_path, monkeypatch, call):
    checkpoint.write(tmp_path, made(1))
    checkpoint.write(tmp_path, made(2))

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    real = getattr(Path, call)

    def failing(self, *args, **more):
        return full() if ".tmp" in str(self) else real(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, failing)
        for sequence in (3, 2):
            if sequence == 3:
                with pytest.raises(StorageUnavailable, match="free the disk"):
                    checkpoint.write(tmp_path, made(sequence))
            else:
                checkpoint.write(tmp_path, made(sequence))
    assert listed(tmp_path) == ["checkpoint-000000000001", "checkpoint-000000000002"]
    assert same(checkpoint.newest(tmp_path), made(2))
    checkpoint.write(tmp_path, made(3))
    assert same(checkpoint.newest(tmp_path), made(3))


def test_half_a_checkpoint_from_a_killed_trainer_is_never_read(tmp_path):
    checkpoint.write(tmp_path, made(1))
    for name in (".checkpoint-000000000002.tmp", ".checkpoint-000000000007.tmp"):
        shutil.copytree(tmp_path / "checkpoint-000000000001", tmp_path / name)
    assert same(checkpoint.newest(tmp_path), made(1))
    checkpoint.write(tmp_path, made(2))
    assert listed(tmp_path) == ["checkpoint-000000000001", "checkpoint-000000000002"]


def test_a_damaged_checkpoint_is_replaced_by_one_of_the_same_plan(tmp_path):
    checkpoint.write(tmp_path, made(1))
    (tmp_path / "checkpoint-000000000001" / "state.json").write_bytes(b"")
    checkpoint.write(tmp_path, made(1))
    assert same(checkpoint.newest(tmp_path), made(1))


def test_an_array_of_python_objects_is_never_unpickled(tmp_path):
    bad = made(1)
    bad.arrays["learner.bad"] = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint.write(tmp_path, bad)
    assert [name for name in listed(tmp_path) if not name.startswith(".")] == []


def test_arrays_are_kept_apart_by_owner():
    arrays = {"a": np.zeros(1), "b": np.ones(1)}
    joined = checkpoint.prefixed("learner", arrays) | checkpoint.prefixed("seen", arrays)
    assert len(joined) == 4
    assert set(checkpoint.owned("seen", joined)) == {"a", "b"}
    assert checkpoint.owned("learne", joined) == {}
