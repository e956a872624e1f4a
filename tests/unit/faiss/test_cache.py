import errno
import shutil
import threading

import msgspec
import pytest

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.verify import verify
from sluice_faiss.cache import Cache
from sluice_faiss.memory import Memory


def kept():
    return {"s1", "s2"}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", None)


def test_a_copy_is_verified_once_and_kept(cache, cut, tmp_path):
    entry = cut()
    copy = cache.fetch(entry, kept)
    assert copy == tmp_path / "cache" / "s1"
    (tmp_path / "store" / "s1").rename(tmp_path / "elsewhere")
    assert cache.fetch(entry, kept) == copy


def test_a_flipped_bit_is_refused_and_a_mended_store_heals_it(cache, cut, flip, tmp_path):
    entry = cut()
    matrix = tmp_path / "store" / "s1" / "items.matrix.npy"
    flip(matrix)
    with pytest.raises(SnapshotRefused, match="checksum"):
        cache.fetch(entry, kept)
    assert not (tmp_path / "cache" / "s1").exists()
    flip(matrix)
    assert cache.fetch(entry, kept).is_dir()


def test_another_manifest_than_the_catalogs_is_refused(cache, cut):
    with pytest.raises(SnapshotRefused, match="catalog"):
        cache.fetch(msgspec.structs.replace(cut(), digest="0" * 64), kept)


def test_a_cut_file_is_refused(cache, cut, tmp_path):
    entry = cut()
    matrix = tmp_path / "store" / "s1" / "items.matrix.npy"
    matrix.write_bytes(matrix.read_bytes()[:-1])
    with pytest.raises(SnapshotRefused, match="bytes instead of"):
        cache.fetch(entry, kept)


def test_a_snapshot_that_is_gone_from_the_store_is_refused(cache, cut, tmp_path):
    entry, _other = cut(), cut("s2")
    (tmp_path / "store" / "s1").rename(tmp_path / "elsewhere")
    with pytest.raises(SnapshotRefused, match="not in the store"):
        cache.fetch(entry, kept)


def test_a_snapshot_is_not_refused_because_the_store_is_not_mounted_yet(cache, cut, tmp_path):
    entry = cut()
    (tmp_path / "store").rename(tmp_path / "unmounted")
    with pytest.raises(StorageUnavailable, match="store is empty although s1 is named; mount its volume"):
        cache.fetch(entry, kept)
    (tmp_path / "unmounted").rename(tmp_path / "store")
    assert cache.fetch(entry, kept).is_dir()


def test_a_store_setting_goes_before_the_uri(cut, tmp_path):
    entry = msgspec.structs.replace(cut(), uri="s3://bucket/s1")
    assert Cache(tmp_path / "cache", FolderStore(tmp_path / "store")).fetch(entry, kept).is_dir()


def test_an_unknown_kind_of_uri_is_refused(cache, cut):
    with pytest.raises(SnapshotRefused, match="gopher:// is no storage known here"):
        cache.fetch(msgspec.structs.replace(cut(), uri="gopher://hole/s1"), kept)


def test_pruning_keeps_what_is_named(cache, cut, tmp_path):
    for snapshot in ("s1", "s2"):
        cache.fetch(cut(snapshot), kept)
    cache.prune(lambda: {"s2"})
    assert not (tmp_path / "cache" / "s1").exists()
    assert (tmp_path / "cache" / "s2").is_dir()


def test_what_does_not_fit_is_refused_with_the_bytes_that_are_missing(tmp_path, cut):
    first, second = cut("s1"), cut("s2")
    cache = Cache(tmp_path / "cache", None, Memory(bound=2 * first.bytes - 1))
    cache.fetch(first, kept)
    left = cache.headroom()
    assert left == 2 * first.bytes - 1 - first.bytes
    missing = second.bytes - left
    with pytest.raises(
        SnapshotRefused, match=rf"needs {second.bytes} bytes of memory, has {left}, {missing} "
    ):
        cache.fetch(second, kept)
    assert not (tmp_path / "cache" / "s2").exists()
    cache.prune(lambda: {"s2"})
    assert cache.fetch(second, kept).is_dir()


def test_copies_that_nobody_keeps_make_room(tmp_path, cut):
    first, second = cut("s1"), cut("s2")
    cache = Cache(tmp_path / "cache", None, Memory(bound=2 * first.bytes - 1))
    cache.fetch(first, kept)
    assert cache.fetch(second, lambda: {"s2"}).is_dir()
    assert not (tmp_path / "cache" / "s1").exists()


def test_workers_that_want_the_same_take_its_memory_once(tmp_path, cut):
    entry = cut()
    caches = [Cache(tmp_path / "cache", None, Memory(bound=entry.bytes)) for _ in range(8)]
    copies = []
    threads = [
        threading.Thread(target=lambda each=each: copies.append(each.fetch(entry, kept))) for each in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copies == [tmp_path / "cache" / "s1"] * 8
    assert caches[0].held() == entry.bytes


def test_a_disk_that_is_too_small_is_refused_before_anything_is_copied(cache, cut, monkeypatch, tmp_path):
    entry = cut()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(
        SnapshotRefused, match=rf"bytes of disk, has 100, {entry.bytes - 100} bytes are missing"
    ):
        cache.fetch(entry, kept)
    assert not (tmp_path / "cache" / "s1").exists()


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(cache, cut, monkeypatch, tmp_path):
    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(SnapshotRefused, match="No space left"):
            cache.fetch(cut(), kept)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert cache.fetch(cut(), kept).is_dir()


@pytest.mark.parametrize("left", [".incoming/s9", "s9", "s1"])
def test_what_a_killed_worker_left_is_cleared(cache, cut, tmp_path, left):
    (tmp_path / "cache" / left).mkdir(parents=True)
    (tmp_path / "cache" / left / "items.matrix.npy").write_bytes(b"half")
    copy = cache.fetch(cut(), kept)
    cache.prune(kept)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".lock", "s1", "s1.verified"}
    assert (copy / "items.matrix.npy").stat().st_size > 4


def test_what_a_power_cut_took_from_a_copy_is_copied_again(cache, cut, tmp_path):
    entry = cut()
    copy = cache.fetch(entry, kept)
    (copy / "items.matrix.npy").write_bytes(b"lost")
    note = tmp_path / "cache" / "s1.verified"
    note.write_text(f"{entry.digest} another-boot")
    cache.fetch(entry, kept)
    assert (copy / "items.matrix.npy").stat().st_size > 4


@pytest.fixture
def after_a_reboot(cut, tmp_path):
    """Return a cache with room for one snapshot, that snapshot, its copy and the note of another boot beside it."""
    entry = cut()
    cache = Cache(tmp_path / "cache", None, Memory(bound=entry.bytes))
    copy, note = cache.fetch(entry, kept), tmp_path / "cache" / "s1.verified"
    note.write_text(f"{entry.digest} another-boot")
    return cache, entry, copy, note


def test_a_sound_copy_of_an_earlier_boot_serves_where_it_lies_while_the_store_is_away(
    after_a_reboot, tmp_path
):
    cache, entry, copy, note = after_a_reboot
    before = (copy / "items.matrix.npy").stat().st_ino
    (tmp_path / "store" / "s1").rename(tmp_path / "elsewhere")
    assert cache.fetch(entry, kept) == copy
    assert (copy / "items.matrix.npy").stat().st_ino == before
    assert "another-boot" not in note.read_text()


def test_an_unsound_copy_takes_no_room_from_its_successor(after_a_reboot, flip):
    cache, entry, copy, _ = after_a_reboot
    flip(copy / "items.matrix.npy")
    cache.fetch(entry, kept)
    assert verify(copy, entry.digest).id == "s1"


def test_a_copy_that_is_trusted_no_longer_takes_no_room_either(after_a_reboot):
    cache, entry, copy, note = after_a_reboot
    cache.forget("s1")
    assert cache.fetch(entry, kept) == copy
    assert note.exists()


def test_a_large_file_that_the_manifest_does_not_name_is_not_copied_first(cache, cut, tmp_path, monkeypatch):
    entry = cut()
    (tmp_path / "store" / "s1" / "extra").write_bytes(b"x")
    monkeypatch.setattr(shutil, "copyfile", None)
    with pytest.raises(SnapshotRefused, match="extra"):
        cache.fetch(entry, kept)
