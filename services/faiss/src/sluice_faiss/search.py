"""One search: the request's type with its bounds, and what a unit answers. Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.filters import FilterDocument, parse
from sluice.records import MAX_FEATURES
from sluice_faiss.bound import Bound

Word = Annotated[str, Meta(min_length=1, max_length=256)]


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """One recent interaction."""

    item_id: Word
    event: Word = "view"
    value: float = 1.0
    ts: int | None = None


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """``recent`` newest first, or items like ``similar_to``, or users like ``similar_to_user``.

    ``exclude`` is never answered, nor what the overlay hides; ``filter`` (items only) restricts the answer.
    """

    snapshot: Annotated[str, Meta(min_length=1, max_length=63)]
    recent: Annotated[list[Recent], Meta(max_length=RECENT_LIMIT)] = []
    features: Annotated[list[Word], Meta(max_length=MAX_FEATURES)] = []
    exclude: Annotated[list[Word], Meta(max_length=5_000)] = []
    filter: FilterDocument | None = None
    similar_to: Word | None = None
    similar_to_user: Word | None = None
    k: Annotated[int, Meta(ge=1, le=1_000)] = 10

    @property
    def kind(self) -> str:
        """``users``, ``similar`` or ``query``."""
        if self.similar_to_user is not None:
            return "users"
        return "query" if self.similar_to is None else "similar"


class ScoredItem(msgspec.Struct, frozen=True):
    """One found item; with ``similar_to_user`` one user, by the same name."""

    item_id: str
    score: float


class Found(msgspec.Struct, frozen=True):
    """Best first."""

    snapshot: str
    items: list[ScoredItem]


def search(bound: Bound, request: Search) -> Found | None:
    """Return what a unit finds; None if it lacks the item or user that others should be similar to.

    Raises :class:`~sluice.errors.InvalidRecord` for an unusable filter.
    """
    pairs = _pairs(bound, request)
    if pairs is None:
        return None
    return Found(bound.unit.id, [ScoredItem(identifier, score) for identifier, score in pairs])


def _pairs(bound: Bound, request: Search) -> list[tuple[str, float]] | None:
    unit = bound.unit
    if request.similar_to_user is not None:
        return _similar_users(bound, request, request.similar_to_user)
    wanted = None if request.filter is None else parse(request.filter)
    blocked, only = bound.items(wanted)
    if request.similar_to is not None:
        return unit.similar(request.similar_to, request.k, request.exclude, blocked=blocked, only=only)
    if request.features and not request.recent:
        return []  # no encoder of this version reads features
    recent = [RecentInteraction(each.item_id, each.event, each.value, each.ts) for each in request.recent]
    return unit.recommend(recent, request.k, request.exclude, blocked=blocked, only=only)


def _similar_users(bound: Bound, request: Search, user_id: str) -> list[tuple[str, float]] | None:
    if bound.is_forgotten(user_id):
        return None
    return bound.unit.similar_users(user_id, request.k, request.exclude, blocked=bound.users())
