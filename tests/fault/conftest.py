"""What fault tests share: polling with a deadline, processes that die on purpose, a disk that is soon full.

``dying`` (the launcher) and ``harness`` can be imported too.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import pytest

SmallDisk = Callable[[int], Path]


@pytest.fixture
def until() -> Callable[..., object]:
    """See :func:`harness.until`."""
    return harness.until


@pytest.fixture
def children(tmp_path: Path) -> Iterator[harness.Children]:
    """Start modules as processes; whatever still runs at the end is killed, with what it forked."""
    started = harness.Children(tmp_path / "logs")
    try:
        yield started
    finally:
        started.kill_all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """``small_disk(bytes)`` mounts a tmpfs of that size and returns its folder; it goes whatever happens."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"mounting a tmpfs is not permitted here: {getattr(error, 'stderr', error)}"
            if os.environ.get("SLUICE_REQUIRE_ALL"):
                pytest.fail(reason)
            pytest.skip(reason)
        mounted.append(place)
        return place

    try:
        yield mount
    finally:
        for place in reversed(mounted):
            # Lazily: it goes even if a process that outlived its test still has a file open on it.
            subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)
