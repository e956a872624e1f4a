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

    ``offset`` is the last one folded in, so that applying an event again changes nothing.
    """

    user_id: str
    recent: tuple[RecentInteraction, ...] = ()
    seen: tuple[str, ...] = ()
    features: Features = ()
    interests: dict[str, float] = {}
    views: dict[str, dict[str, Any]] = {}
    offset: int = -1

    @property
    def forgotten(self) -> bool:
        """Whether the last event was a forget: only the offset is left, so that a replay changes nothing."""
        return self.offset >= 0 and self == Profile(user_id=self.user_id, offset=self.offset)


class Applied(NamedTuple):
    """One event at its position in the log; ``timestamp`` is the log's, Unix milliseconds."""

    offset: int
    timestamp: int
    event: Interaction | Forget


def fold(profile: Profile, events: Sequence[Applied]) -> Profile:
    """Return ``profile`` after ``events`` (in offset order), without those at or before its offset."""
    recent, seen = list(profile.recent), dict.fromkeys(profile.seen)
    offset = profile.offset
    for position, timestamp, event in events:
        if position <= offset:
            continue
        offset = position
        if isinstance(event, Forget):
            recent, seen = [], {}
            profile = Profile(user_id=profile.user_id)
            continue
        ts = timestamp if event.ts is None else event.ts
        recent.insert(0, RecentInteraction(event.item_id, event.event, event.value, ts))
        seen.pop(event.item_id, None)
        seen[event.item_id] = None
    return msgspec.structs.replace(
        profile, recent=tuple(recent[:RECENT_LIMIT]), seen=tuple(seen)[-SEEN_LIMIT:], offset=offset
    )


class Profiles(Protocol):
    """Port: the profiles of one source. Users of one partition are written by one process at a time."""

    def get(self, user_id: str) -> Profile | None:
        """Return a profile, or None for a user never heard of (or forgotten)."""

    def apply(self, partition: Partition, events: Mapping[str, Sequence[Applied]]) -> None:
        """Fold events in, keyed by user id, each exactly once however often it is handed over."""

    def describe(self, users: Sequence[User]) -> None:
        """Take over features, interests and views of users."""
