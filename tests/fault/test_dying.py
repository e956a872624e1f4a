"""The launcher that kills: it counts every durable write, those of children too, and kills where asked."""

import signal
import sqlite3
import subprocess
from contextlib import closing

import pytest
from dying import between, command, count

WRITER = """
import os, sqlite3, sys
from pathlib import Path

def write(folder):
    (folder / "new").write_text("new")
    with (folder / "new").open("rb") as stream:
        os.fsync(stream.fileno())                                # 1, 5
    (folder / "new").replace(folder / "old")                     # 2, 6
    database = sqlite3.connect(folder / "db", isolation_level=None)
    database.execute("CREATE TABLE t (x)")
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("COMMIT")                                   # 3, 7
    (folder / "old").rename(folder / "last")                     # 4, 8

for name in ("a", "b"):
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    if not (child := os.fork()):
        write(folder)
        os._exit(0)
    (folder / "status").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "writer.py").write_text(WRITER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def run(folder, at, **flags):
    """Return the exit code of the parent."""
    line = command(at, "writer", str(folder), count_file=folder / "count", **flags)
    return subprocess.run(line, timeout=30).returncode


def written(folder, name):
    """Return what a child left: the files, and the rows committed."""
    files = {file for file in ("new", "old", "last") if (folder / name / file).exists()}
    if not (folder / name / "db").exists():
        return files, None
    with closing(sqlite3.connect(folder / name / "db")) as database:
        return files, database.execute("SELECT count(*) FROM t").fetchone()[0]


def test_undisturbed_it_counts_the_writes_of_all_processes(folder):
    assert run(folder, 0) == 0
    assert count(folder / "count") == 8
    assert written(folder, "a") == written(folder, "b") == ({"last"}, 1)


BEFORE = {1: ({"new"}, None), 2: ({"new"}, None), 3: ({"old"}, 0), 4: ({"old"}, 1)}
AFTER = {1: ({"new"}, None), 2: ({"old"}, None), 3: ({"old"}, 1), 4: ({"last"}, 1)}


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("after", [False, True])
def test_the_writer_dies_at_the_write_asked_for_and_its_parent_lives(folder, at, after):
    assert run(folder, at, after=after) == 0
    victim = "a" if at <= 4 else "b"
    assert written(folder, victim) == (AFTER if after else BEFORE)[(at - 1) % 4 + 1]
    assert (folder / victim / "status").read_text() == str(-signal.SIGKILL)
    assert count(folder / "count") == (at + 4 if at <= 4 else at)  # the other child writes all of its own


@pytest.mark.parametrize("at", [1, 6])
def test_whole_kills_the_parent_too(folder, at):
    assert run(folder, at, whole=True) == -signal.SIGKILL
    assert count(folder / "count") == at
    assert not (folder / ("a" if at <= 4 else "b") / "status").exists()


def test_a_file_named_again_goes_on_counting(folder):
    run(folder, 3, whole=True)
    (folder / "a").rename(folder / "first")
    assert run(folder, 0) == 0
    assert count(folder / "count") == 3 + 8


def test_between_writes_each_moment_comes_once():
    assert between(3) == [(1, False), (1, True), (3, False), (3, True)]
