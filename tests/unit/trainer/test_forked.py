"""Work in forked children: their results, their failures, their ends."""

import os
import signal
import time

import pytest

from sluice.errors import StorageUnavailable
from sluice_trainer import forked
from sluice_trainer.forked import ChildDied, Task, start

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="children are forked on Linux only")


def wait(task: Task) -> Task:
    deadline = time.monotonic() + 30.0
    while not task.ended(0.1):
        assert time.monotonic() < deadline
    return task


@pytest.mark.parametrize("fork", [True, False])
def test_a_task_returns_its_line_and_tells_on_the_way(fork):
    def work(tell):
        tell("the store\nis full")
        return b"made"

    task = wait(start(work, fork=fork))
    assert task.result() == b"made"
    assert [" ".join(each.split()) for each in task.told()] == ["the store is full"]
    assert task.told() == []
    task.kill()


def test_a_child_sees_what_was_and_what_it_changes_is_its_own():
    held = [1]

    def work(_tell):
        held.append(2)
        time.sleep(0.05)
        return str(held).encode()

    task = start(work, fork=True)
    held.append(3)
    assert wait(task).result() == b"[1, 2]"
    assert held == [1, 3]


def test_a_store_that_fails_in_the_child_fails_here():
    def full(_tell):
        raise StorageUnavailable("free the disk")

    with pytest.raises(StorageUnavailable, match="free the disk"):
        wait(start(full, fork=True)).result()
    with pytest.raises(StorageUnavailable, match="free the disk"):
        start(full, fork=False)


def die(_tell) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def fail(_tell) -> bytes:
    raise ValueError("numbers that are not finite")


@pytest.mark.parametrize(("work", "reason"), [(die, "-9"), (fail, "not finite")])
def test_a_child_that_dies_or_breaks_gives_no_result(work, reason):
    with pytest.raises(ChildDied, match=reason):
        wait(start(work, fork=True)).result()


def test_a_child_can_be_ended_and_leaves_nothing():
    before = set(os.listdir("/proc/self/fd"))
    task = start(lambda _tell: time.sleep(60.0) or b"", fork=True)
    assert not task.ended()
    task.kill()
    assert task.ended()
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildDied):
        task.result()


def test_a_child_ends_with_its_parent():
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:

        def work(_tell) -> bytes:
            os.write(writing, b"%d" % os.getpid())
            time.sleep(60.0)
            return b""

        start(work, fork=True)
        time.sleep(60.0)
        os._exit(0)
    child = int(os.read(reading, 20))
    os.close(writing)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(reading, 1) == b"", "the pipe closes when the child is gone"
    os.close(reading)
    deadline = time.monotonic() + 30.0
    while alive(child):
        assert time.monotonic() < deadline


def alive(process: int) -> bool:
    """Whether it runs; one whose end nobody has taken note of yet does not."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
