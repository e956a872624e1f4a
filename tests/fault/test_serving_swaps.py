"""Fifty snapshots pass through a pod under load: no search fails, nothing is left behind."""

import threading

import pytest
from harness import until
from pod import Pod, clustered

from sluice.snapshot import choice, writer

SWAPS, KEPT = 50, 10
TOLERANCE_BYTES = 12 << 20


class Load:
    """Two clients that ask for the snapshot that serves, until stopped."""

    def __init__(self, pod):
        self.pod, self.snapshot, self.asked, self.failed = pod, "s0", 0, []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def _ask(self):
        while not self._stopping.is_set():
            snapshot = self.snapshot
            if self.pod.search(snapshot) is None:
                self.failed.append(snapshot)
            self.asked += 1


@pytest.fixture
def pod(tmp_path, children, monkeypatch):
    """A pod whose snapshots are of every index type in turn."""
    pod = Pod(tmp_path, children)
    monkeypatch.setattr(choice, "CHEAP", 1.0)
    matrix = clustered(4_000, 32)
    for number in range(KEPT):
        for module in (choice, writer):
            monkeypatch.setattr(module, "FLAT_ROWS", 50_000 if number % 2 else 100)
        pod.cut(f"s{number}", matrix)
    return pod


def swap(pod, load, number):
    """Let the next snapshot in beside the one that serves, switch over, let the old one go."""
    before, after = load.snapshot, f"s{number % KEPT}"
    pod.want(before, after)
    pod.serves(*{before, after})
    load.snapshot = after
    asked = load.asked
    until(lambda: load.asked > asked + 4, "searches go on")
    pod.want(after)
    pod.serves(after)


def disk(pod):
    return sorted(
        str(path.relative_to(pod.cache)) for path in pod.cache.rglob("*") if ".workers" not in path.parts
    )


def test_fifty_swaps_under_load_leak_nothing(pod):
    pod.want("s0")
    pod.start(workers=2, threads=2)
    pod.serves("s0")
    with Load(pod) as load:
        for number in range(1, KEPT + 1):  # every type has been opened, allocators have grown
            swap(pod, load, number)
        before, files = pod.takes(), disk(pod)
        for number in range(1, SWAPS + 1):
            swap(pod, load, number)
        until(
            lambda: pod.takes()["descriptors"] <= before["descriptors"],
            f"descriptors: {before} {pod.takes()}",
        )
        after = pod.takes()
    assert load.failed == []
    assert load.asked > SWAPS
    assert disk(pod) == files
    assert after["pss"] <= before["pss"] + TOLERANCE_BYTES, f"{before} {after}"
    assert after["regions"] <= before["regions"] + 8, f"{before} {after}"
    assert "Traceback" not in pod.process.says()
    assert pod.stop() == 0
