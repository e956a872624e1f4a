"""Workers that tell the process that forked them when they have started."""

import os

from sluice.web.starts import Starts


def test_the_parent_hears_of_each_child_once_it_has_started():
    starts, children = Starts(), []
    assert starts.told() == set()
    for _ in range(3):
        if (child := os.fork()) == 0:
            starts.tell()
            os._exit(0)
        children.append(child)
        os.waitpid(child, 0)
        assert starts.told() == set(children)
