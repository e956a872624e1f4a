"""Reading what a client sent, strictly: JSON bodies, query parameters, paths. Nothing unknown is passed over."""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import falcon
import msgspec

from sluice.errors import InvalidRecord
from sluice.records import MAX_DEPTH, check_depth
from sluice.web.bodies import decode, read_bytes
from sluice.web.problems import problem
from sluice.wording import sentence

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_CHARSETS: Final = ("utf-8", "utf8", "us-ascii")
_BOM: Final = b"\xef\xbb\xbf"
T = TypeVar("T")


class Utf8:
    """Falcon middleware: refuses a path or query that is not percent-encoded UTF-8, instead of guessing."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Check the request line."""
        path = req.env["PATH_INFO"]
        try:
            if not path.isascii():
                path.encode("latin-1").decode()
            req.query_string.encode("ascii")  # bare bytes would be taken for Latin-1
            if "%" in req.query_string:
                unquote_to_bytes(req.query_string).decode()
        except UnicodeError as error:
            raise problem(
                400, "bad-utf8", "the address is not UTF-8; percent-encode its UTF-8 bytes"
            ) from error


def parameters(req: falcon.Request, known: Collection[str]) -> Mapping[str, str]:
    """Return the query parameters; 400 naming one that is unknown or given twice."""
    given: dict[str, str] = {}
    for name, value in req.params.items():
        if name not in known:
            raise problem(400, "unknown-parameter", _unknown(name, known))
        if isinstance(value, list):
            raise problem(400, "repeated-parameter", f"{name} is given {len(value)} times; give it once")
        given[name] = value
    return given


def whole(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number; 400 naming it if it is none or out of range."""
    text = given.get(name)
    if text is None:
        return default
    value = int(text) if _WHOLE.fullmatch(text) else low - 1
    if not low <= value <= high:
        raise problem(400, "bad-parameter", f"{name} must be a whole number from {low} to {high}; correct it")
    return value


def listed(given: Mapping[str, str], name: str) -> list[str]:
    """Return the words of a comma separated parameter, none if it is not given; 400 naming it if it is empty."""
    text = given.get(name)
    if text == "":
        raise problem(400, "bad-parameter", f"{name} is empty; name at least one, or leave it out")
    return text.split(",") if text else []


def body(req: falcon.Request) -> Any:
    """Return the JSON body.

    413 above 1 MiB; 415 if it is declared to be something else or to be compressed; 400 if it is empty, no
    JSON in UTF-8 (``NaN``, a byte order mark and lone surrogates are none), names a key of an object twice,
    or nests too deep.
    """
    _check_type(req)
    data = read_bytes(req)
    if not data.strip():
        raise problem(400, "empty-body", "the body is empty; send JSON")
    if data.startswith(_BOM):
        raise problem(400, "bad-json", "the body begins with a byte order mark; send UTF-8 without one")
    document = decode(data)
    if isinstance(document, dict | list):
        check_depth(document, MAX_DEPTH + 1)  # one more for a list of records
        _check_keys(data)
    return document


def _check_type(req: falcon.Request) -> None:
    declared = req.content_type
    if declared is not None:
        kind, _, options = declared.lower().partition(";")
        kind = kind.strip()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise problem(
                415, "not-json", f"the body is declared as {kind[:80]!r}; send Content-Type: application/json"
            )
        charset = options.partition("charset=")[2].strip(" \"'")
        if charset and charset not in _CHARSETS:
            raise problem(415, "not-utf8", f"the body's charset is {charset[:40]!r}; send UTF-8")
    if (req.get_header("Content-Encoding") or "identity").lower() != "identity":
        raise problem(415, "compressed", "the body is compressed; send it as it is")


def _check_keys(data: bytes) -> None:
    """Refuse a key given twice: readers differ in which value they take."""
    json.loads(data, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRecord("repeated-field", f"{twice[:80]} is given twice in one object; give it once")


def fields(document: Any, known: Collection[str], what: str) -> dict[str, Any]:
    """Return an object; raises :class:`InvalidRecord` if it is none or has a field that is not known."""
    if not isinstance(document, dict):
        raise InvalidRecord("bad-shape", f"{what} must be a JSON object; known fields are {_names(known)}")
    for name in document:
        if name not in known:
            raise InvalidRecord("unknown-field", _unknown(name, known))
    return document


def with_whole(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object whose field ``name`` is an int if it is a whole number such as 3.0: JSON knows no other."""
    value = document.get(name)
    return {**document, name: int(value)} if isinstance(value, float) and value.is_integer() else document


def typed(document: Any, kind: type[T], whole_field: str) -> T:
    """Return an object as the struct ``kind``; raises :class:`InvalidRecord` naming a wrong field."""
    known = fields(document, kind.__struct_fields__, "the body")  # type: ignore[attr-defined]
    known = with_whole(known, whole_field)
    try:
        return msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        raise InvalidRecord("bad-field", sentence(error, kind)) from error


def _unknown(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name[:80], list(known), 1)
    fix = f"write {close[0]}, or leave it out" if close else "leave it out"
    return f"{name[:80]!r} is unknown; {fix} (known are {_names(known)})"


def _names(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"
