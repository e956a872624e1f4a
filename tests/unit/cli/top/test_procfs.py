"""A service uses what all processes of its session use."""

import os
from pathlib import Path

from sluice_cli.top.procfs import Usage, alive, usage


def process(proc: Path, pid: int, session: int, ticks: int, kilobytes: int, name: str = "python") -> None:
    folder = proc / str(pid)
    folder.mkdir()
    after_name = ["S", "1", str(session), str(session), *["0"] * 7, str(ticks), str(ticks), "0"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(after_name)}\n")
    (folder / "smaps_rollup").write_text(f"00-ff ---p [rollup]\nRss: 999999 kB\nPss: {kilobytes} kB\n")


def test_workers_count_to_their_service(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    process(tmp_path, 10, 10, tick, 1_000)
    process(tmp_path, 11, 10, 2 * tick, 500, name="a (b) c")
    process(tmp_path, 20, 20, tick, 1)
    (tmp_path / "30").mkdir()  # ended meanwhile
    (tmp_path / "self").mkdir()
    assert usage({10, 30}, tmp_path) == {10: Usage(6.0, 1_500 * 1024)}


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert usage({10}, tmp_path / "none") == {}


def test_whether_a_process_runs() -> None:
    assert alive(os.getpid())
    assert not alive(2**22 + 1)
