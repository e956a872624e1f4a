"""Mounts of ours are told from those of others by where they are."""

from pathlib import Path

from cluster.leftovers import mounts

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
80 22 0:41 / /cache/state rw - tmpfs tmpfs rw
81 80 0:42 / /cache/state/kubelet/pods/a/volumes/x rw - tmpfs tmpfs rw
82 22 0:43 / /cache/state\\040of\\040others rw - tmpfs tmpfs rw
83 22 0:44 / /cache/stateful rw - tmpfs tmpfs rw
84 80 0:45 / /cache/state/with\\040blank rw - tmpfs tmpfs rw
"""


def test_mounts_below_our_folders_are_found_the_last_first() -> None:
    expected = ["/cache/state/with blank", "/cache/state/kubelet/pods/a/volumes/x", "/cache/state"]
    assert mounts(MOUNTINFO, [Path("/cache/state")]) == expected
