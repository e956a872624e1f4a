"""What a client may ask for, within bounds, and how it is answered: strategy, exclusion, filling up. Pure."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.filters import Filter, FilterDocument, parse
from sluice.profile import SEEN_LIMIT, Profile
from sluice.records import MAX_FEATURES, check_id

MAX_N: Final = 1_000
MAX_EXCLUDE: Final = 1_000
POPULAR_DEPTH: Final = SEEN_LIMIT + MAX_EXCLUDE + RECENT_LIMIT + MAX_N
"""So many of the most popular items are enough to fill any answer."""

PERSONALIZED: Final = "personalized"
SESSION: Final = "session"
FEATURES: Final = "features"
SIMILAR: Final = "similar"
POPULAR: Final = "popular"

Ranked = Sequence[tuple[str, float]]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request for recommendations.

    ``items`` are those of a session in the order they were seen, the newest last; ``session_id`` keeps a
    session on one track of a rollout.
    """

    user_id: str | None = None
    items: Annotated[list[str], Meta(max_length=RECENT_LIMIT)] = []
    features: Annotated[list[str], Meta(max_length=MAX_FEATURES)] = []
    session_id: str | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_N)] = 10
    exclude: Annotated[list[str], Meta(max_length=MAX_EXCLUDE)] = []
    model: str | None = None
    filter: FilterDocument | None = None

    @property
    def wanted(self) -> Filter | None:
        """The filter; raises :class:`InvalidRecord` if it is unusable."""
        return None if self.filter is None else parse(self.filter)


class Query(msgspec.Struct, frozen=True):
    """What a snapshot is asked. With an empty ``strategy`` there is nothing to ask it."""

    strategy: str
    recent: Sequence[RecentInteraction]
    features: Sequence[str]
    exclude: Sequence[str]


def check(ask: Ask) -> None:
    """Raise :class:`InvalidRecord` naming the field of an unusable id or filter."""
    for name in ("user_id", "session_id", "model"):
        value = getattr(ask, name)
        if value is not None:
            check_id(value, name)
    for name in ("items", "features", "exclude"):
        for value in getattr(ask, name):
            check_id(value, name)
    _ = ask.wanted


def query_of(ask: Ask, profile: Profile | None, *, exclude_seen: bool) -> Query:
    """Choose the strategy: a profile with interactions, else the session's items, else features."""
    seen = profile.seen if profile is not None and exclude_seen else ()
    exclude = [*seen, *ask.exclude]
    if profile is not None and profile.recent:
        return Query(PERSONALIZED, profile.recent, profile.features, exclude)
    if ask.items:
        recent = [RecentInteraction(item_id) for item_id in reversed(ask.items)]
        return Query(SESSION, recent, ask.features, [*exclude, *ask.items])
    features = ask.features or (profile.features if profile is not None else ())
    return Query(FEATURES if features else "", (), features, exclude)


def search_body(query: Query, n: int, wanted: Filter | None) -> dict[str, Any]:
    """Return what a pod is asked; filtering and excluding is all its work, so that ``n`` are enough."""
    recent = [
        {"item_id": each.item_id, "event": each.event, "value": each.value, "ts": each.ts}
        for each in query.recent
    ]
    return {
        "recent": recent,
        "features": query.features,
        "exclude": query.exclude,
        "filter": wanted,
        "k": n,
    }


def subject_of(ask: Ask, request_id: str) -> str:
    """Return whom a rollout deals to a track: the user, else the session, else the request."""
    return ask.user_id or ask.session_id or request_id


def fill(
    found: Ranked, popular: Ranked, n: int, exclude: Iterable[str], allowed: Callable[[str], bool]
) -> list[tuple[str, float]]:
    """Return ``found`` filled up to ``n`` with popular items that are allowed, not in it and not excluded."""
    ranked = list(found[:n])
    taken = {item_id for item_id, _ in ranked}.union(exclude)
    more = (pair for pair in popular if pair[0] not in taken and allowed(pair[0]))
    ranked.extend(islice(more, n - len(ranked)))
    return ranked


def strategy_name(strategy: str, found: int, total: int) -> str:
    """Return how an answer was made, e.g. ``personalized``, ``session+popular``, ``popular``."""
    if not found:
        return POPULAR
    return strategy if found == total else f"{strategy}+{POPULAR}"
