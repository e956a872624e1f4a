"""Counter-based randomness: every draw is a hash of (seed, key, draw number), so that a replay draws the same.

There is no generator state to keep, no order to respect and nothing to checkpoint. The hash is the
finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Rows

Keys = NDArray[np.uint64]
Rows64 = NDArray[np.int64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def mix(values: Keys) -> Keys:
    """Return SplitMix64's finaliser of each value, ``uint64`` of the same shape."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def hashes(seed: int, keys: Keys, draws: Keys) -> Keys:
    """Return one hash per (key, draw); ``keys`` and ``draws`` broadcast against each other."""
    start = np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    return mix(mix(mix(start + _GOLDEN) ^ keys) + draws * _GOLDEN)


def order(seed: int, keys: Keys, round_number: int) -> Rows64:
    """Return a permutation of ``len(keys)``, another one for each round."""
    return np.argsort(hashes(seed, keys, _draw(round_number)), kind="stable")


class Sampler:
    """Draws rows with probability ~ ``counts ** power``; power 0 draws all rows alike.

    Rows without events are not drawn once others have some: nothing is known of them, not even that they
    are disliked.
    """

    def __init__(self, counts: NDArray[np.int64], power: float) -> None:
        mass = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 0.0)
        self.ends = np.cumsum(mass if mass.any() else np.ones(max(1, len(counts))))

    def draw(self, seed: int, keys: Keys, draws: int, round_number: int) -> Rows64:
        """Return ``draws`` rows for each key, ``(len(keys), draws)``; another round draws others."""
        turns = np.arange(draws, dtype=np.uint64) + _draw(round_number) * np.uint64(1 << 32)
        drawn = hashes(seed, keys[:, None], turns[None, :])
        places = (drawn >> np.uint64(11)).astype(np.float64) / float(1 << 53)  # in [0, 1)
        rows: Rows64 = np.searchsorted(self.ends, places * self.ends[-1], side="right")
        return rows.clip(max=len(self.ends) - 1)


class Positives:
    """The (user, item) pairs of a history, to be asked whether a sampled negative is one of them."""

    def __init__(self, users: Rows, items: Rows) -> None:
        self.pairs = np.unique(_pair(users, items))

    def hold(self, users: Rows, items: Rows64) -> NDArray[np.bool_]:
        """Return which of ``items (B, k)`` the user of that line, ``users (B,)``, is known to like."""
        asked = _pair(users[:, None], items)
        places = np.searchsorted(self.pairs, asked).clip(max=max(0, len(self.pairs) - 1))
        held: NDArray[np.bool_] = self.pairs[places] == asked
        return held


def fresh_rows(seed: int, start: int, stop: int, width: int, scale: float) -> Matrix:
    """Return starting values of rows ``start..stop``, uniform with standard deviation ``scale``."""
    rows = np.arange(start, stop, dtype=np.uint64)[:, None]
    bits = hashes(seed, rows, np.arange(width, dtype=np.uint64)[None, :]) >> np.uint64(40)
    unit = bits.astype(np.float64) / float(1 << 23) - 1.0  # 24 bits, in [-1, 1)
    noise: Matrix = (unit * (scale * np.sqrt(3.0))).astype(np.float32)
    return noise


def _draw(number: int) -> Keys:
    return np.array([number], dtype=np.uint64)


def _pair(users: Rows, items: Rows | Rows64) -> Rows64:
    return (users.astype(np.int64) << 32) | items.astype(np.int64)
