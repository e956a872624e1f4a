import msgspec
import pytest

from sluice.errors import SnapshotRefused
from sluice_faiss.cache import Cache


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", None)


def test_a_copy_is_verified_once_and_kept(cache, cut, tmp_path):
    entry = cut()
    copy = cache.fetch(entry)
    assert copy == tmp_path / "cache" / "s1"
    (tmp_path / "store" / "s1").rename(tmp_path / "elsewhere")
    assert cache.fetch(entry) == copy


def test_a_flipped_bit_is_refused_and_a_mended_store_heals_it(cache, cut, flip, tmp_path):
    entry = cut()
    matrix = tmp_path / "store" / "s1" / "items.matrix.npy"
    flip(matrix)
    with pytest.raises(SnapshotRefused, match="checksum"):
        cache.fetch(entry)
    assert not (tmp_path / "cache" / "s1").exists()
    flip(matrix)
    assert cache.fetch(entry).is_dir()


def test_another_manifest_than_the_catalogs_is_refused(cache, cut):
    with pytest.raises(SnapshotRefused, match="catalog"):
        cache.fetch(msgspec.structs.replace(cut(), digest="0" * 64))


def test_a_cut_file_is_refused(cache, cut, tmp_path):
    entry = cut()
    index = tmp_path / "store" / "s1" / "items.index"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(SnapshotRefused, match="bytes instead of"):
        cache.fetch(entry)


def test_a_snapshot_that_is_gone_from_the_store_is_refused(cache, cut, tmp_path):
    entry = cut()
    (tmp_path / "store" / "s1").rename(tmp_path / "elsewhere")
    with pytest.raises(SnapshotRefused, match="not in the store"):
        cache.fetch(entry)


def test_a_store_setting_goes_before_the_uri(cut, tmp_path):
    entry = msgspec.structs.replace(cut(), uri="s3://bucket/s1")
    assert Cache(tmp_path / "cache", tmp_path / "store").fetch(entry).is_dir()


def test_an_unknown_kind_of_uri_is_refused(cache, cut):
    with pytest.raises(SnapshotRefused, match="s3"):
        cache.fetch(msgspec.structs.replace(cut(), uri="s3://bucket/s1"))


def test_pruning_keeps_what_is_named(cache, cut, tmp_path):
    for snapshot in ("s1", "s2"):
        cache.fetch(cut(snapshot))
    cache.prune({"s2"})
    assert not (tmp_path / "cache" / "s1").exists()
    assert (tmp_path / "cache" / "s2").is_dir()
