"""What the API answers: the types of its bodies."""

import msgspec


class ItemMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an item beside its id."""

    title: str
    features: tuple[str, ...] = ()


class RecommendedItem(msgspec.Struct, frozen=True):
    """``score`` orders items of one origin: the snapshot's score, or popularity's decayed count.

    ``metadata`` holds ``title`` and ``features``; null for an item without record.
    """

    item_id: str
    score: float
    metadata: msgspec.Raw | None = None


class Recommendations(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. ``snapshot`` is null if no snapshot took part (strategy ``popular``)."""

    request_id: str
    model: str
    snapshot: str | None
    track: str
    strategy: str
    items: list[RecommendedItem]


class SimilarUser(msgspec.Struct, frozen=True):
    """``score`` orders the users of one answer."""

    user_id: str
    score: float


class SimilarUsers(msgspec.Struct, frozen=True, kw_only=True):
    """Users like one, best first."""

    request_id: str
    model: str
    snapshot: str
    track: str
    strategy: str
    users: list[SimilarUser]


class Accepted(msgspec.Struct, frozen=True):
    """So many records are in the log."""

    accepted: int
