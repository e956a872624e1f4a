"""Headroom: the least that machine, container and setting leave, with what is held counted in full."""

import pytest

from sluice_faiss.memory import Memory


class Files:
    """A machine with 1,000 kB available, and control groups as written."""

    def __init__(self, folder):
        self.folder = folder
        self.write("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 1000 kB\n")
        self.write("proc/self/cgroup", "0::/\n")

    def write(self, path, text):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def v2(self, limit, used, inactive, active, group=""):
        self.write(f"cgroup/{group}memory.max", f"{limit}\n")
        self.write(f"cgroup/{group}memory.current", f"{used}\n")
        self.write(f"cgroup/{group}memory.stat", f"anon 5\ninactive_file {inactive}\nactive_file {active}\n")

    def v1(self, limit, used, inactive, active, group=""):
        self.write(f"cgroup/memory/{group}memory.limit_in_bytes", f"{limit}\n")
        self.write(f"cgroup/memory/{group}memory.usage_in_bytes", f"{used}\n")
        stat = f"inactive_file 1\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n"
        self.write(f"cgroup/memory/{group}memory.stat", stat)

    def headroom(self, held=0, bound=0):
        return Memory(bound, self.folder / "cgroup", self.folder / "proc").headroom(held)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_without_limits_the_machine_decides_less_what_is_held(files):
    assert files.headroom() == 1_024_000
    assert files.headroom(held=24_000) == 1_000_000
    assert files.headroom(held=2_000_000) == 0


def test_the_setting_bounds_what_snapshots_take_together(files):
    assert files.headroom(held=300, bound=1_000) == 700
    assert files.headroom(held=1_300, bound=1_000) == 0
    assert files.headroom(bound=10**12) == 1_024_000


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("inactive", "active", "held", "left"),
    [
        (0, 0, 0, 400),
        (100, 0, 0, 500),  # inactive file cache is no working set
        (100, 200, 0, 500),  # active file cache is
        (100, 200, 250, 450),  # held and in the cache only in part: counted in full
        (300, 0, 300, 400),  # held, in the cache, not touched lately: counted all the same
    ],
)
def test_a_containers_limit_leaves_what_its_working_set_and_the_held_do_not_take(
    files, version, inactive, active, held, left
):
    getattr(files, version)(1_000, 600, inactive, active)
    assert files.headroom(held=held) == left


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_no_limit_is_no_bound(files, limit):
    files.v2(limit, 600, 0, 0)
    files.v1(limit, 600, 0, 0)
    assert files.headroom() == 1_024_000


def test_a_group_below_the_root_counts_too(files):
    files.write("proc/self/cgroup", "4:cpu,memory:/pod/own\n0::/pod/own\n")
    files.v2(1_000, 100, 0, 0, group="pod/own/")
    assert files.headroom() == 900
    files.v1(800, 100, 0, 0, group="pod/own/")
    assert files.headroom() == 700


def test_this_machine_has_some():
    assert Memory().headroom(0) > 0
