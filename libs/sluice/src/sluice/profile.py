"""The profile: what Sluice remembers of one user of one source. Folding an event in is pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.events import Partition
from sluice.records import Features, Forget, Interaction, User

SEEN_LIMIT: Final = 2_000
"""How many distinct items a profile remembers as seen; the longest unseen falls out first."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user's recent interactions (newest first), seen items (oldest first), features.

    Interactions alone decide ``recent`` and ``seen``, the ``users`` topic alone decides ``features``,
    ``interests`` and ``views``: so it does not matter which topic is read first. ``offsets`` are the last
    ones folded in, by partition number of the interactions, ``described_at`` is that of the ``users`` record
    taken over (-1 = none), so that reading either topic again changes nothing, not even for a moment.
    """

    user_id: str
    recent: tuple[RecentInteraction, ...] = ()
    seen: tuple[str, ...] = ()
    features: Features = ()
    interests: dict[str, float] = {}
    views: dict[str, dict[str, Any]] = {}
    described: bool = False
    offsets: dict[int, int] = {}
    described_at: int = -1

    @property
    def known(self) -> bool:
        """Whether anything is remembered; of a forgotten user only positions are, so that a replay changes nothing."""
        return self.described or bool(self.recent)


class Applied(NamedTuple):
    """One event at its position in the log; ``timestamp`` is the log's, Unix milliseconds."""

    offset: int
    timestamp: int
    event: Interaction | Forget


class Described(NamedTuple):
    """One record of the ``users`` topic at its position; None deletes what earlier ones said."""

    offset: int
    user: User | None


def fold(profile: Profile, part: int, events: Sequence[Applied]) -> Profile:
    """Return ``profile`` after ``events`` of partition ``part`` (in offset order), without those it has already."""
    done = profile.offsets.get(part, -1)
    events = [each for each in events if each.offset > done]
    if not events:
        return profile
    recent, seen = list(profile.recent), dict.fromkeys(profile.seen)
    for _, timestamp, event in events:
        if isinstance(event, Forget):
            recent, seen = [], {}
            continue
        ts = timestamp if event.ts is None else event.ts
        recent.insert(0, RecentInteraction(event.item_id, event.event, event.value, ts))
        seen.pop(event.item_id, None)
        seen[event.item_id] = None
    return msgspec.structs.replace(
        profile,
        recent=tuple(recent[:RECENT_LIMIT]),
        seen=tuple(seen)[-SEEN_LIMIT:],
        offsets={**profile.offsets, part: events[-1].offset},
    )


def described(profile: Profile, record: Described) -> Profile:
    """Return ``profile`` with what a ``users`` record says, unless it knows that record or a later one."""
    if record.offset <= profile.described_at:
        return profile
    said = record.user or User(user_id=profile.user_id)
    return msgspec.structs.replace(
        profile,
        features=said.features,
        interests=said.interests,
        views=said.views,
        described=record.user is not None,
        described_at=record.offset,
    )


class Profiles(Protocol):
    """Port: the profiles of one source. Users of one partition are written by one process at a time."""

    def get(self, user_id: str) -> Profile | None:
        """Return a profile, or None for a user never heard of (or forgotten)."""

    def apply(self, partition: Partition, events: Mapping[str, Sequence[Applied]]) -> Mapping[str, Profile]:
        """Fold events in, keyed by user id, each exactly once however often it is handed over.

        Returns the profiles of these users as they are now stored, forgotten ones (not ``known``) too, so that
        a cache need not read them again. :meth:`describe` does likewise.
        """

    def describe(self, users: Mapping[str, Described]) -> Mapping[str, Profile]:
        """Take over features, interests and views of users, by user id; earlier records than one known do nothing."""
