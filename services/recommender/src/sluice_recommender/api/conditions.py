"""ETags: a strong one from the content itself, and the conditions a request may tie to it. Pure."""

import hashlib
import re
from typing import Final

import msgspec

from sluice.errors import InvalidRecord
from sluice_recommender.api.keys import Denied

CONDITION: Final = r'^(\*|(W/)?"[!#-~]*"( ?, ?(W/)?"[!#-~]*")*)$'
"""What ``If-Match`` and ``If-None-Match`` may be: a star or a list of ETags."""

_CONDITION: Final = re.compile(CONDITION)
_TAG: Final = re.compile(r'(?:W/)?"[!#-~]*"')


def content(record: msgspec.Struct) -> bytes:
    """Return the representation that is answered and tagged."""
    return msgspec.json.encode(record)


def tag(representation: bytes) -> str:
    """Return the ETag of a representation, quotes included."""
    return f'"{hashlib.blake2b(representation, digest_size=12).hexdigest()}"'


def unchanged(if_none_match: str | None, current: str) -> bool:
    """Return whether a reader already has the representation ``current`` tags (weak comparison).

    Raises :class:`InvalidRecord` for a header that is no condition; so does :func:`failed_condition`.
    """
    _check("If-None-Match", if_none_match)
    return if_none_match is not None and _holds(if_none_match, current, weak=True)


def failed_condition(if_match: str | None, if_none_match: str | None, current: str | None) -> Denied | None:
    """Return why a write may not be done; ``current`` is None if there is nothing yet (strong comparison)."""
    _check("If-Match", if_match)
    _check("If-None-Match", if_none_match)
    if if_match is not None and not _holds(if_match, current):
        found = "it does not exist" if current is None else f"it is now {current}"
        return Denied(412, "changed", f"If-Match does not hold, {found}; GET it and decide again")
    if if_none_match is not None and _holds(if_none_match, current, weak=True):
        return Denied(
            412, "changed", f"If-None-Match does not hold, it is {current}; GET it and decide again"
        )
    return None


def _check(name: str, condition: str | None) -> None:
    if condition is not None and _CONDITION.fullmatch(condition) is None:
        raise InvalidRecord("bad-header", f'{name} must be * or a list of ETags such as "4f0c"; correct it')


def _holds(condition: str, current: str | None, *, weak: bool = False) -> bool:
    if current is None:
        return False
    tags = _TAG.findall(condition)
    return condition == "*" or current in tags or (weak and f"W/{current}" in tags)
