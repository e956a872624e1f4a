"""Names every type error of a document, where msgspec stops at the first.

Each error's place is cut out of a copy and the rest is converted again, until nothing is wrong any more. What
only is wrong because of a cut (a required field that was cut out for another reason) is not told.
"""

import copy
import re
from typing import Any, Final

import msgspec

MOST: Final = 64
"""So many errors are named at most."""

_PLACE: Final = re.compile(r"^(.*?)(?: - at `(?:key` in `)?\$([^`]*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"^Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)
_PART: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")

Path = tuple[str | int, ...]


def problems(document: Any, kind: Any, *, strict: bool = True) -> list[str]:
    """Return every type error of ``document`` as ``kind``: ``Expected `str`, got `int` - at `spec.name```.

    Empty if it can be converted. ``strict`` is msgspec's. ``document`` is left as it is.
    """
    copied = _Copy(document)
    found: list[str] = []
    while len(found) < MOST:
        try:
            msgspec.convert(copied.document, kind, strict=strict)
        except msgspec.ValidationError as error:
            problem, goes_on = copied.cut_out(str(error))
            found += [problem] if problem else []
            if goes_on:
                continue
        break
    return found


class _Copy:
    """A copy of a document from which parts are cut; it knows where its lists' elements were at first."""

    def __init__(self, document: Any) -> None:
        self.document = copy.deepcopy(document)
        self._positions: dict[int, list[int]] = {}
        self._cut: set[Path] = set()

    def cut_out(self, error: str) -> tuple[str | None, bool]:
        """Cut the place of an error out; return what to tell, if anything, and whether more can be cut."""
        matched = _PLACE.match(error)
        words, place = (matched[1], matched[2] or "") if matched else (error, "")
        path, named = _path(place), _NAMED.match(words)
        at = self._as_given(path)
        wrong = (*path, named[2]) if named and named[1] == "contains unknown" else path
        told: str | None = f"{words} - at `{_written(at)}`" if at else words
        if named and named[1] == "missing required" and (*at, named[2]) in self._cut:
            told = None  # it was cut out here, for what was told then
        return told, self._remove(wrong)

    def _remove(self, path: Path) -> bool:
        """Remove a place; False for the whole document or a place that is not there."""
        if not path:
            return False
        self._cut.add(self._as_given(path))
        parent, last = self._at(path[:-1]), path[-1]
        if isinstance(parent, list):
            self._positions_of(parent).pop(int(last))
        try:
            del parent[last]
        except (KeyError, TypeError):
            return False
        return True

    def _at(self, path: Path) -> Any:
        node = self.document
        for part in path:
            node = node[part]
        return node

    def _positions_of(self, elements: list[Any]) -> list[int]:
        return self._positions.setdefault(id(elements), list(range(len(elements))))

    def _as_given(self, path: Path) -> Path:
        """Return a path with the list positions that the document had at first."""
        given: list[str | int] = []
        node: Any = self.document
        for part in path:
            given.append(self._positions_of(node)[part] if isinstance(part, int) else part)
            node = node[part]
        return tuple(given)


def _path(place: str) -> Path:
    """Return a place of msgspec's as keys and positions, up to a dictionary whose key it does not name."""
    parts: list[str | int] = []
    for found in _PART.finditer(place):
        if found[0] == "[...]":
            break
        parts.append(found[1] if found[1] is not None else int(found[2]))
    return tuple(parts)


def _written(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
