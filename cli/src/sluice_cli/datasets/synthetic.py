"""A synthetic stream with something to learn: tastes by genre, skewed popularity, and drift.

Time is cut into weeks. In each week a user draws items without repeating any, with probability
proportional to taste(user, week, genre) × appeal(item, week). Most of a user's taste lies in two genres, so
that knowing the user says far more than knowing what is popular; a third of the users change taste midway, appeals
wander from week to week, and a fifth of the items appear only later, so that a model that stops learning falls behind.
"""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sluice.records import Interaction, Item
from sluice_cli.datasets.dataset import Dataset, DatasetError

NAME: Final = "synthetic"
START_MS: Final = 1_704_067_200_000
"""2024-01-01T00:00Z."""
WEEK_MS: Final = 7 * 86_400_000
WEEKS: Final = 12
GENRES: Final = (
    "Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Horror", "Mystery", "Romance", "Western",
)  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Shape(Struct, frozen=True, kw_only=True):
    """How large the stream is and which ``seed`` it grows from; equal shapes give equal streams."""

    users: int = 600
    items: int = 1_500
    events: int = 50_000
    seed: int = 1

    def __post_init__(self) -> None:
        for field, least in (("users", 1), ("items", 4 * len(GENRES)), ("events", 1)):
            if getattr(self, field) < least:
                raise DatasetError(f"{field} must be at least {least}, not {getattr(self, field)}; raise it")
        if self.events > self.users * self.most_per_user:
            raise DatasetError(
                f"events may be {self.users * self.most_per_user} for {self.users} users and {self.items} items, "
                f"not {self.events}; ask for fewer events or more users or items"
            )

    @property
    def most_per_user(self) -> int:
        """Return how many events one user may have: a quarter of the items."""
        return self.items // 4


def generate(shape: Shape | None = None) -> Dataset:
    """Return the stream of ``shape`` (default: 600 users, 1,500 items, 50,000 events)."""
    shape = shape or Shape()
    rng = np.random.default_rng(shape.seed)
    genres = rng.permutation(np.arange(shape.items) % len(GENRES))
    appeal = _appeal(rng, shape.items)
    tastes = _tastes(rng, shape.users)
    budget = _budget(rng, shape)
    rows: list[tuple[int, int, int]] = []
    for user in range(shape.users):
        rows += _events_of(rng, user, tastes[user][:, genres], appeal, budget[user])
    rows.sort()
    description = (
        f"synthetic stream, seed {shape.seed}: {shape.users} users whose tastes drift over {WEEKS} weeks"
    )
    return Dataset(NAME, description, _interactions(rows, shape.seed), _items(genres))


def _appeal(rng: np.random.Generator, items: int) -> Floats:
    """Return log appeal, (WEEKS, items): a Zipf-like skew that wanders; minus infinity before an item appears."""
    skew = -0.8 * np.log1p(rng.permutation(items) // len(GENRES))
    walk = np.cumsum(rng.normal(0.0, 0.25, (WEEKS, items)), axis=0)
    appears = np.where(rng.random(items) < 0.2, rng.integers(1, WEEKS, items), 0)
    absent = np.arange(WEEKS)[:, None] < appears[None, :]
    appeal: Floats = np.where(absent, -np.inf, skew + walk)
    return appeal


def _tastes(rng: np.random.Generator, users: int) -> Floats:
    """Return log taste, (users, WEEKS, genres): 70 % one genre, 20 % another, the rest even."""
    turn = np.where(rng.random(users) < 1 / 3, rng.integers(WEEKS // 3, WEEKS, users), WEEKS)
    taste = np.full((users, WEEKS, len(GENRES)), 0.1 / len(GENRES))
    weeks = np.arange(WEEKS)
    for user in range(users):
        first, second, third = rng.choice(len(GENRES), 3, replace=False)
        taste[user, weeks, np.where(weeks < turn[user], first, third)] += 0.7
        taste[user, :, second] += 0.2
    log_taste: Floats = np.log(taste)
    return log_taste


def _budget(rng: np.random.Generator, shape: Shape) -> Ints:
    """Return how many events each user has in each week, (users, WEEKS), ``shape.events`` in all."""
    share = rng.lognormal(0.0, 0.8, shape.users)
    counts = np.zeros(shape.users, dtype=np.int64)
    while (missing := shape.events - int(counts.sum())) > 0:
        open_share = np.where(counts < shape.most_per_user, share, 0.0)
        counts += rng.multinomial(missing, open_share / open_share.sum())
        counts = np.minimum(counts, shape.most_per_user)
    # A user is active over a stretch of weeks; the rest of the weeks get a trickle.
    begin = rng.integers(0, WEEKS, shape.users)
    active = (np.arange(WEEKS)[None, :] - begin[:, None]) % WEEKS < WEEKS // 2
    weight = np.where(active, 1.0, 0.1)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.array([rng.multinomial(count, row) for count, row in zip(counts, weight, strict=True)])


def _events_of(
    rng: np.random.Generator, user: int, taste: Floats, appeal: Floats, budget: Ints
) -> list[tuple[int, int, int]]:
    """Return the user's (ts, user, item) rows.

    Adding Gumbel noise to log weights and taking the largest draws without replacement, in proportion
    (Plackett-Luce). ``taste`` and ``appeal`` are (WEEKS, items).
    """
    unseen = np.zeros(appeal.shape[1])
    rows: list[tuple[int, int, int]] = []
    for week in np.flatnonzero(budget):
        score = taste[week] + appeal[week] + unseen + rng.gumbel(size=unseen.size)
        drawn = np.argsort(-score, kind="stable")[: budget[week]]
        unseen[drawn] = -np.inf
        times = np.sort(rng.integers(0, WEEK_MS, drawn.size)) + START_MS + int(week) * WEEK_MS
        rows += [(int(ts), user, int(item)) for ts, item in zip(times, drawn, strict=True)]
    return rows


def _interactions(rows: list[tuple[int, int, int]], seed: int) -> list[Interaction]:
    return [
        Interaction(user_id=f"user-{user}", item_id=f"item-{item}", ts=ts, event_id=f"{NAME}-{seed}-{number}")
        for number, (ts, user, item) in enumerate(rows, 1)
    ]


def _items(genres: NDArray[np.integer]) -> list[Item]:
    return [
        Item(
            item_id=f"item-{number}", title=f"{GENRES[genre]} {number}", features=(f"genre:{GENRES[genre]}",)
        )
        for number, genre in enumerate(genres)
    ]
