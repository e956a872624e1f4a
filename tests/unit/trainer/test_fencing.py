"""Two trainers of one model: the newer one takes the folder over, the older one notices whatever it does next."""

import pytest
from structlog.testing import capture_logs

from sluice.embedded.models import EmbeddedCatalog, model_database
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice_trainer import fencing
from sluice_trainer.fencing import Fence, newest_folder


@pytest.fixture
def catalog(tmp_path):
    return EmbeddedCatalog(model_database(tmp_path / "model.db"))


def test_a_trainer_takes_over_what_the_last_one_left(tmp_path, catalog):
    older = Fence(tmp_path / "trainer", catalog)
    (older.folder / "journal-000000000000-000001.log").write_bytes(b"plans")
    newer = Fence(tmp_path / "trainer", catalog)
    assert newer.epoch > older.epoch
    assert newest_folder(tmp_path / "trainer") == newer.folder
    assert [path.name for path in newer.folder.iterdir()] == ["journal-000000000000-000001.log"]
    assert not older.folder.exists()


def test_the_older_one_notices_by_its_folder_and_by_the_catalog(tmp_path, catalog):
    older = Fence(tmp_path / "trainer", catalog)
    older.check_folder()
    older.check()
    Fence(tmp_path / "trainer", catalog)
    for look in (older.check_folder, older.check):
        with pytest.raises(StaleEpoch):
            look()


def test_with_a_folder_of_its_own_it_notices_by_the_catalog_soon(tmp_path, catalog, monkeypatch):
    older = Fence(tmp_path / "one", catalog)
    Fence(tmp_path / "other", catalog)
    older.check_folder()
    older.glance()
    monkeypatch.setattr(fencing, "LOOK_S", 0.0)
    with pytest.raises(StaleEpoch):
        older.glance()


def test_a_folder_that_is_gone_though_nobody_took_it_is_waited_for(tmp_path, catalog):
    fence = Fence(tmp_path / "trainer", catalog)
    fence.folder.rename(tmp_path / "away")
    with pytest.raises(StorageUnavailable, match="mount its volume"):
        fence.check_folder()


def test_a_catalog_that_cannot_answer_stops_nobody_from_learning(tmp_path, catalog, monkeypatch):
    fence = Fence(tmp_path / "trainer", catalog)

    def away() -> int:
        raise StorageUnavailable("away")

    monkeypatch.setattr(fencing, "LOOK_S", 0.0)
    monkeypatch.setattr(catalog, "epoch", away)
    fence.glance()
    with pytest.raises(StorageUnavailable):
        fence.check()


class Slow:
    """A catalog whose answer to a claim comes late: meanwhile another trainer claims and takes over."""

    def __init__(self, catalog, meanwhile) -> None:
        self._catalog, self._meanwhile = catalog, meanwhile

    def claim(self) -> int:
        epoch = self._catalog.claim()
        self._meanwhile()
        return epoch

    def epoch(self) -> int:
        return self._catalog.epoch()


def test_who_claimed_first_but_comes_late_is_the_older_one(tmp_path, catalog):
    taken = []
    slow = Slow(catalog, lambda: taken.append(Fence(tmp_path / "trainer", catalog)))
    with pytest.raises(StaleEpoch):
        Fence(tmp_path / "trainer", slow)
    taken[0].check_folder()
    taken[0].check()


def test_a_catalog_that_was_lost_counts_on_from_what_the_folder_knows(tmp_path, catalog):
    for _ in range(4):
        last = Fence(tmp_path / "trainer", catalog)
    (last.folder / "journal-000000000000-000004.log").write_bytes(b"plans")
    anew = Fence(tmp_path / "trainer", EmbeddedCatalog(model_database(tmp_path / "restored.db")))
    assert anew.epoch > last.epoch
    assert (anew.folder / "journal-000000000000-000004.log").exists()


def test_what_a_trainer_left_before_there_were_epochs_is_taken_in(tmp_path, catalog):
    folder = tmp_path / "trainer"
    (folder / "checkpoint-000000000007").mkdir(parents=True)
    (folder / "journal-000000000007.log").write_bytes(b"plans")
    fence = Fence(folder, catalog)
    assert sorted(path.name for path in fence.folder.iterdir()) == [
        "checkpoint-000000000007",
        "journal-000000000007.log",
    ]


def test_it_says_in_one_line_who_replaced_it(tmp_path, catalog):
    older = Fence(tmp_path / "trainer", catalog)
    newer = Fence(tmp_path / "trainer", catalog)
    with capture_logs() as said:
        older.tell()
    told = [(line["event"], line["trainer_epoch"], line["replaced_by"]) for line in said]
    assert told == [("this trainer was replaced, stopping", older.epoch, newer.epoch)]
