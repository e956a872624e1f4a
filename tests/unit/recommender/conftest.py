"""Collaborators of the recommender, named by how they behave."""

import pytest

from sluice.errors import StorageUnavailable
from sluice.events import Partition, StoredRecord
from sluice.items import growth
from sluice.records import encode
from sluice.routing import Routing
from sluice_recommender.api.pods import SearchFailed, UnknownItem

NOW = 1_700_000_000.0


class RememberedProfiles(dict):
    """Profiles by user id."""


class UnavailableProfiles:
    def get(self, user_id):
        raise StorageUnavailable("profiles cannot be read; check the disk")


class RememberedItems(dict):
    """Items by id."""

    def get(self, item_ids):
        return {item_id: self[item_id] for item_id in item_ids if item_id in self}


class CountedPopularity:
    def __init__(self, counts):
        self.counts = counts

    def top(self, n):
        return sorted(
            ((key, count * growth(NOW)) for key, count in self.counts.items()), key=lambda p: (-p[1], p[0])
        )[:n]

    def of(self, item_ids):
        return {key: count for key, count in self.top(len(self.counts)) if key in item_ids}


class UnavailablePopularity:
    def top(self, n):
        raise StorageUnavailable("popularity cannot be read; check the disk")

    of = top


class RecordingLog:
    """Keeps what is appended; refuses while ``down``."""

    def __init__(self):
        self.records, self.down = [], False

    def append(self, topic, records):
        if self.down:
            raise StorageUnavailable("log.db cannot be written: disk full; check the disk")
        self.records.extend((topic, record) for record in records)


class RecordingEvidence:
    """Keeps rows by their key; refuses while ``down``."""

    def __init__(self):
        self.rows, self.down = {}, False

    def append(self, rows):
        if self.down:
            raise StorageUnavailable("busy; check the disk")
        for row in rows:
            self.rows.setdefault((row.rollout, row.snapshot, row.writer, row.sequence), row)


class FixedRouting:
    def __init__(self, routing=None):
        self.routing = routing

    def read(self):
        return self.routing


class AnsweringPods:
    """Finds the same items for everybody and remembers what it was asked."""

    def __init__(self, *items, lacks=()):
        self.items, self.lacks, self.asked = items, lacks, []

    def search(self, body):
        self.asked.append(body)
        if any(f'"similar_to":"{item}"'.encode() in body for item in self.lacks):
            raise UnknownItem("no such item")
        return [(item, 1.0 - place / 100) for place, item in enumerate(self.items)]


class FailingPods:
    def search(self, body):
        raise SearchFailed("every pod failed")


def routing(**changes):
    values = {"epoch": 1, "rollout": "r1", "stable": "s1", "candidate": None, "weight": 0, "renewed": NOW}
    return Routing(**{**values, **changes})


def put(overlay, *items):
    """Let the overlay read these items' records, in order; an id alone is a tombstone."""
    partition = Partition("shop.items", 0)
    for item in items:
        offset = overlay.position.get(0, 0)
        if isinstance(item, str):
            record = StoredRecord(partition, offset, 0, item.encode(), None)
        else:
            record = StoredRecord(partition, offset, 0, item.item_id.encode(), encode(item))
        overlay.apply([record])


PARTITION = Partition("shop.interactions", 0)


@pytest.fixture(scope="session")
def fakes():
    """Give the tests this module's names."""
    import types

    return types.SimpleNamespace(**globals())
