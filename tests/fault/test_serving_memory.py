"""What serving takes: one copy of a snapshot for all workers, and nothing that does not fit."""

import re
import shutil

import pytest
from harness import until
from pod import Pod, clustered

from sluice.snapshot import choice, writer

MEGABYTE = 1 << 20


@pytest.fixture
def pod(tmp_path, children):
    return Pod(tmp_path, children)


def test_four_workers_share_one_copy_of_a_large_snapshot(pod, monkeypatch):
    with monkeypatch.context() as patched:
        for module in (choice, writer):
            patched.setattr(module, "FLAT_ROWS", 100)
        patched.setattr(choice, "CHEAP", 1.0)
        pod.cut("small", clustered(4_000, 32))  # with an index: Faiss is part of a worker's base
    directory = pod.cut("large", clustered(60_000, 1_040))
    size = sum(file.stat().st_size for file in directory.iterdir())
    assert size > 500 * 1_000_000
    assert (directory / "items.index").exists()
    pod.want("small")
    pod.start(workers=4, threads=2)
    pod.serves("small")
    base = pod.takes()["pss"]
    pod.want("small", "large")
    pod.serves("small", "large")
    for row in range(0, 60_000, 1_000):
        assert pod.search("large", f"i{row}", k=20)
    taken = pod.takes()["pss"]
    assert taken < base + size + 4 * 16 * MEGABYTE, f"{taken} of a base of {base} and a unit of {size}"
    assert taken > base + size / 2, "the workers have touched their snapshot, or this proves nothing"


def test_what_does_not_fit_is_refused_with_the_missing_bytes_until_room_is_made(pod):
    sizes = {}
    for name in ("a", "b", "c"):
        directory = pod.cut(name, clustered(2_000, 64))
        sizes[name] = sum(file.stat().st_size for file in directory.iterdir() if file.suffix == ".npy")
    pod.want("a", "b")
    pod.start(workers=2, memory_bytes=2 * sizes["a"] + 100)
    pod.serves("a", "b")
    assert pod.snapshots()["headroom_bytes"] == 100
    pod.want("a", "b", "c")
    until(pod.refused, "c refused")
    found = re.search(r"needs (\d+) bytes of memory, has (\d+), (\d+) bytes are missing", pod.refused()["c"])
    assert found is not None
    assert [int(number) for number in found.groups()] == [sizes["c"], 100, sizes["c"] - 100]
    assert pod.loaded() == ["a", "b"]
    assert pod.search("a") == pod.search("b")
    assert pod.call("GET", "/readyz").status == 503
    pod.want("b", "c")
    pod.serves("b", "c")
    assert pod.refused() == {}
    assert pod.search("c") == pod.search("b")


def test_a_full_disk_is_a_refusal_and_the_old_snapshot_serves_on(tmp_path, children, small_disk):
    disk = small_disk(3 * MEGABYTE)
    pod = Pod(tmp_path, children, cache=disk / "cache")
    pod.cut("a", clustered(3_000, 64))
    pod.cut("b", clustered(12_000, 64))
    pod.want("a")
    pod.start(workers=2)
    pod.serves("a")
    pod.want("a", "b")
    until(pod.refused, "b refused")
    assert re.search(r"bytes of disk, has \d+, \d+ bytes are missing", pod.refused()["b"])
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 100_000))
    pod.cut("c", clustered(1_000, 64))
    pod.want("a", "c")
    until(lambda: "c" in pod.refused(), "c refused")
    assert pod.search("a")
    assert sorted(path.name for path in (disk / "cache").iterdir() if path.name[0] != ".") == [
        "a",
        "a.verified",
    ]
    filler.unlink()
    pod.serves("a", "c")
