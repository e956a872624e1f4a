"""One search: the request's type with its bounds, and what a unit answers. Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.records import MAX_FEATURES
from sluice.snapshot.unit import Unit

Word = Annotated[str, Meta(min_length=1, max_length=256)]


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """One recent interaction."""

    item_id: Word
    event: Word = "view"
    value: float = 1.0
    ts: int | None = None


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """``recent`` newest first, or ``similar_to`` one item; ``exclude`` is never answered."""

    snapshot: Annotated[str, Meta(min_length=1, max_length=63)]
    recent: Annotated[list[Recent], Meta(max_length=RECENT_LIMIT)] = []
    features: Annotated[list[Word], Meta(max_length=MAX_FEATURES)] = []
    exclude: Annotated[list[Word], Meta(max_length=5_000)] = []
    filter: msgspec.Raw | None = None
    similar_to: Word | None = None
    k: Annotated[int, Meta(ge=1, le=1_000)] = 10


class ScoredItem(msgspec.Struct, frozen=True):
    """One found item."""

    item_id: str
    score: float


class Found(msgspec.Struct, frozen=True):
    """Best first."""

    snapshot: str
    items: list[ScoredItem]


def search(unit: Unit, request: Search) -> Found | None:
    """Return what ``unit`` finds; None if it lacks the item that others should be similar to."""
    if request.similar_to is not None:
        return _similar(unit, request, request.similar_to)
    if request.features and not request.recent:
        return Found(unit.id, [])  # no encoder of this version reads features
    recent = [RecentInteraction(each.item_id, each.event, each.value, each.ts) for each in request.recent]
    return _found(unit, unit.recommend(recent, request.k, request.exclude))


def _similar(unit: Unit, request: Search, item_id: str) -> Found | None:
    excluded = set(request.exclude)
    found = unit.similar(item_id, request.k + len(excluded))
    if found is None:
        return None
    return _found(unit, [each for each in found if each[0] not in excluded][: request.k])


def _found(unit: Unit, pairs: list[tuple[str, float]]) -> Found:
    return Found(unit.id, [ScoredItem(item_id, score) for item_id, score in pairs])
