"""Which file counts: the pod's own list, or the stable one while the pod was given none."""

import itertools
import os

import pytest
from structlog.testing import capture_logs

from sluice_faiss.watch import Desired


class Files:
    """Two files; each is written later than all before."""

    def __init__(self, folder):
        self.wanted, self.stable, self._now = folder / "wanted", folder / "stable", 1_000
        self.desired = Desired(self.wanted, self.stable)

    def put(self, path, text):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
            self._now += 1
            os.utime(path, (self._now, self._now))

    def ids(self):
        return list(self.desired().ids)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "stable", "ids"),
    [
        (None, None, []),
        ("", None, []),
        ("", "", []),
        (None, "[]", []),
        (None, '["s"]', ["s"]),
        ("", '["s"]', ["s"]),
        (" \n", '["s"]', ["s"]),
        ("[]", '["s"]', []),
        ('["a"]', '["s"]', ["a"]),
        ('["a"]', None, ["a"]),
        ('["a"', '["s"]', ["s"]),
    ],
)
def test_the_list_in_force(files, wanted, stable, ids):
    files.put(files.wanted, wanted)
    files.put(files.stable, stable)
    assert files.ids() == ids


def test_a_pod_goes_from_the_stable_list_to_its_own_and_back(files):
    files.put(files.wanted, "")
    files.put(files.stable, '["s1"]')
    assert files.ids() == ["s1"]
    files.put(files.wanted, '["s1", "c1"]')
    assert files.ids() == ["s1", "c1"]
    files.put(files.wanted, "")
    assert files.ids() == ["s1"]
    files.put(files.stable, '["s2"]')
    assert files.ids() == ["s2"]
    files.put(files.wanted, "[]")
    assert files.ids() == []


@pytest.mark.parametrize("gone", ["", None])
def test_a_list_that_follows_another_is_always_the_later_one(files, gone):
    files.put(files.stable, '["s1"]')
    seen = [files.desired()]
    for wanted in ('["a"]', gone, "[]", gone, '["b"]'):
        files.put(files.wanted, wanted)
        seen.append(files.desired())
    assert all(before.at < after.at for before, after in itertools.pairwise(seen))
    assert files.desired() == seen[-1], "and stays the same while nothing changes"


def test_a_broken_list_leaves_the_last_one_of_its_file_in_force(files):
    files.put(files.stable, '["s1"]')
    files.put(files.wanted, '["a"]')
    assert files.ids() == ["a"]
    with capture_logs() as lines:
        files.put(files.wanted, '["a')
        assert [files.ids() for _ in range(3)] == [["a"]] * 3
    assert [line["path"] for line in lines] == [str(files.wanted)]


def test_without_a_stable_file_an_absent_list_wants_nothing(tmp_path):
    assert Desired(tmp_path / "wanted")().ids == ()
