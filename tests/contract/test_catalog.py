"""The catalog port: snapshots of one model, and the fence between its trainers."""

import contextlib

import msgspec
import pytest

from sluice.catalog import CatalogEntry
from sluice.errors import Conflict, SluiceError, StaleEpoch


def entry(name: str, epoch: int, **fields) -> CatalogEntry:
    made = {
        "uri": f"file:///store/{name}",
        "digest": f"digest of {name}",
        "parent": None,
        "algorithm": "GMF",
        "spec_hash": "h",
        "created": 1.5,
        "interactions": 7,
        "bytes": 100,
        "metrics": {"recall@20": 0.25},
    }
    return CatalogEntry(id=name, epoch=epoch, **(made | fields))


def test_a_catalog_begins_empty(catalog):
    assert catalog.entries() == []
    assert catalog.get("s1") is None


def test_entries_come_back_whole_and_in_the_order_of_their_commit(catalog_port, catalog):
    epoch = catalog.claim()
    made = [entry("z", epoch), entry("a", epoch, parent="z"), entry("m", epoch, created=0.0)]
    for each in made:
        catalog.commit(each)
    assert catalog.entries() == made
    assert catalog.get("a") == made[1]
    assert catalog_port.open().entries() == made


def test_a_large_snapshot_is_an_entry_like_any_other(catalog_port, catalog):
    epoch = catalog.claim()
    large = entry("large", epoch, bytes=2**40, interactions=2**33)
    catalog.commit(large)
    catalog.commit(entry("next", epoch))
    catalog_port.open().release({"large"}, 2**33)
    found = catalog.get("large")
    assert found == msgspec.structs.replace(large, released=True)
    assert msgspec.json.decode(msgspec.json.encode(found), type=CatalogEntry) == found


def test_every_claim_is_above_all_earlier_ones(catalog_port, catalog):
    claimed = [catalog.claim(), catalog_port.open().claim(), catalog.claim()]
    assert claimed == sorted(set(claimed))


def test_every_trainer_can_see_whether_a_newer_one_has_claimed(catalog_port, catalog):
    assert catalog.epoch() == 0
    mine = catalog.claim()
    assert catalog.epoch() == mine
    newer = catalog_port.open().claim()
    assert catalog.epoch() == newer > mine
    catalog.commit(entry("s1", newer))
    assert catalog.epoch() == newer


def test_claims_at_once_are_all_different(catalog_port, at_once):
    openers = [catalog_port.open() for _ in range(4)]
    claims = at_once(*[lambda opener=opener: [opener.claim() for _ in range(20)] for opener in openers])
    assert len({claim for mine in claims for claim in mine}) == 80
    assert all(mine == sorted(mine) for mine in claims)


def test_a_trainer_is_refused_once_a_newer_one_has_claimed(catalog_port, catalog):
    old = catalog.claim()
    catalog.commit(entry("s1", old))
    new = catalog_port.open().claim()
    for name in ("s2", "s1"):
        with pytest.raises(StaleEpoch):
            catalog.commit(entry(name, old))
    assert [each.id for each in catalog.entries()] == ["s1"]
    catalog.commit(entry("s2", new))
    assert [each.id for each in catalog.entries()] == ["s1", "s2"]


def test_committing_the_same_snapshot_again_changes_nothing(catalog):
    epoch = catalog.claim()
    catalog.commit(entry("s1", epoch))
    catalog.commit(entry("s2", epoch))
    catalog.release({"s1"}, 1)
    catalog.commit(entry("s1", epoch))
    assert [(each.id, each.released) for each in catalog.entries()] == [("s1", True), ("s2", False)]


def test_an_id_is_never_given_to_other_files(catalog):
    epoch = catalog.claim()
    catalog.commit(entry("s1", epoch))
    with pytest.raises(Conflict, match="s1"):
        catalog.commit(entry("s1", epoch, digest="other"))
    assert catalog.get("s1").digest == "digest of s1"


def test_releasing_marks_entries_and_passes_over_unknown_ones(catalog):
    epoch = catalog.claim()
    for name in ("s1", "s2", "s3"):
        catalog.commit(entry(name, epoch))
    catalog.release({"s1", "s3", "never"}, 1)
    catalog.release(set(), 1)
    catalog.release({"s1"}, 1)
    assert [each.released for each in catalog.entries()] == [True, False, True]
    assert catalog.get("s3") == msgspec.structs.replace(entry("s3", epoch), released=True)


def test_a_release_by_a_decision_older_than_one_that_was_heard_of_is_refused(catalog_port):
    catalog, other = catalog_port.open(), catalog_port.open()
    catalog.commit(entry("s1", catalog.claim()))
    catalog.release(set(), 5)
    with pytest.raises(StaleEpoch):
        other.release({"s1"}, 4)
    assert not catalog.get("s1").released
    other.release({"s1"}, 5)
    assert catalog.get("s1").released


def test_only_a_released_entry_can_be_removed(catalog):
    epoch = catalog.claim()
    catalog.commit(entry("s1", epoch))
    catalog.commit(entry("s2", epoch))
    with contextlib.suppress(SluiceError):
        catalog.remove("s1")
    assert catalog.get("s1") is not None
    catalog.release({"s1"}, 1)
    catalog.remove("s1")
    catalog.remove("s1")
    assert [each.id for each in catalog.entries()] == ["s2"]


def test_of_two_trainers_at_once_only_the_newer_ones_commits_follow_its_claim(catalog_port, at_once):
    older, newer = catalog_port.open(), catalog_port.open()
    old = older.claim()

    def work_old() -> int:
        for number in range(200):
            try:
                older.commit(entry(f"old-{number}", old))
            except StaleEpoch:
                return number
        return 200

    def work_new() -> None:
        epoch = newer.claim()
        for number in range(20):
            newer.commit(entry(f"new-{number}", epoch))

    committed, failed = at_once(work_old, work_new)
    assert failed is None
    names = [each.id for each in newer.entries()]
    assert names == [f"old-{n}" for n in range(committed)] + [f"new-{n}" for n in range(20)]


def test_commits_releases_and_claims_at_once_lose_nothing(catalog_port, catalog, at_once):
    epoch = catalog.claim()
    for number in range(10):
        catalog.commit(entry(f"old-{number}", epoch))

    def commit() -> None:
        for number in range(10):
            catalog_port.open().commit(entry(f"new-{number}", epoch))

    def release() -> None:
        for number in range(10):
            catalog_port.open().release({f"old-{number}"}, number + 1)

    def remove() -> None:
        for number in range(10):
            catalog_port.open().remove(f"new-{number}")  # refused or passed over: it is not released

    assert at_once(commit, release, remove) == [None] * 3
    assert {each.id: each.released for each in catalog.entries()} == {
        f"{age}-{number}": age == "old" for age in ("old", "new") for number in range(10)
    }
    assert catalog.epoch() == epoch
