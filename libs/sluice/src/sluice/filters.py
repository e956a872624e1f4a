"""Filters: which items an answer may hold, by the words of their records.

A word of an item is one of its features (``genre:Comedy``) or one of its scalar attributes written
``name:value`` (``price:12``, ``hit:true``, ``rating:4.5``); a number without fraction is written as a whole
one, so that 1995.0 is ``year:1995``. A filter names words that an item must have all of, any of, or none of.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from sluice.errors import InvalidRecord
from sluice.records import MAX_ID_BYTES, Item, check_id
from sluice.wording import sentence

MAX_WORDS: Final = 16

Words = tuple[str, ...]


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An item matches if it has every word of ``all``, at least one of ``any`` (if given) and none of ``none``.

    An item without record has no words: it matches a filter with ``none`` only, and no other.
    """

    all: Words = ()
    any: Words = ()
    none: Words = ()

    @property
    def asks_for_words(self) -> bool:
        """Whether an item without words fails."""
        return bool(self.all or self.any)


FilterDocument = str | list[str] | Filter
"""How a filter is written in JSON: a word, a list of words (= all of them), or an object."""


def parse(document: Any) -> Filter:
    """Return the filter that a decoded JSON value (or a :class:`Filter`) stands for.

    Raises :class:`InvalidRecord` (``bad-filter``) unless it names 1 to 16 usable words.
    """
    found = _shaped(document)
    words = [*found.all, *found.any, *found.none]
    if not 1 <= len(words) <= MAX_WORDS:
        raise InvalidRecord(
            "bad-filter",
            f"filter must name 1 to {MAX_WORDS} words, not {len(words)}; correct it or leave it out",
        )
    for word in words:
        try:
            check_id(word, "filter")
        except InvalidRecord as error:
            raise InvalidRecord("bad-filter", str(error)) from error
    return found


def _shaped(document: Any) -> Filter:
    if isinstance(document, Filter):
        return document
    if isinstance(document, str):
        return Filter(all=(document,))
    kind: Any = Words if isinstance(document, list) else Filter
    try:
        found = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidRecord(
            "bad-filter",
            f"filter must be a word, a list of words or an object: {sentence(error, kind, 'it')}",
        ) from error
    return Filter(all=found) if isinstance(document, list) else found


def words_of(item: Item) -> frozenset[str]:
    """Return the words of an item; those longer than an id may be cannot be asked for and are none."""
    words = {*item.features, *_attribute_words(item.attributes)}
    return frozenset(word for word in words if len(word) * 4 <= MAX_ID_BYTES or _fits(word))


def _attribute_words(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name, value in attributes.items():
        if isinstance(value, bool):
            yield f"{name}:{'true' if value else 'false'}"
        elif isinstance(value, float):
            if isfinite(value):
                yield f"{name}:{int(value) if value.is_integer() else repr(value)}"
        elif isinstance(value, str | int):
            yield f"{name}:{value}"


def _fits(word: str) -> bool:
    return len(word.encode(errors="replace")) <= MAX_ID_BYTES
