"""Records on the topics of a source: what a client may send and what Sluice writes itself.

Only this module turns bytes from outside into typed records. Anything it cannot read raises
:class:`~sluice.errors.InvalidRecord` with a stable ``reason``, which becomes a dead-letter header.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
import orjson

from sluice.errors import InvalidRecord
from sluice.wording import sentence

MAX_ID_BYTES: Final = 256
MAX_RECORD_BYTES: Final = 64 * 1024
MAX_FEATURES: Final = 256
MAX_DEPTH: Final = 16
_BEFORE_JSON: Final = b" \t\r\n\xef\xbb\xbf"  # blanks and a byte order mark, which JSON does not begin with

T = TypeVar("T")

Features = tuple[str, ...]


class Interaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One user did one thing with one item. ``ts`` is Unix time in milliseconds; ``value`` is finite."""

    user_id: str
    item_id: str
    event: str = "view"
    value: float = 1.0
    ts: int | None = None
    session_id: str | None = None
    event_id: str | None = None
    request_id: str | None = None


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """Voids all earlier offsets of this user, for every reader and on replay."""

    user_id: str
    control: str = "forget"


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the item catalogue; ``features`` are ``name:value`` words an encoder may learn from."""

    item_id: str
    title: str = ""
    features: Features = ()
    attributes: dict[str, Any] = {}
    available: bool = True


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a user beyond interactions."""

    user_id: str
    features: Features = ()
    interests: dict[str, float] = {}
    views: dict[str, dict[str, Any]] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was given; attribution credits later interactions to it. ``ts`` in milliseconds.

    ``experiment`` names the one that dealt the user to this model, if one did.
    """

    request_id: str
    user_id: str
    model: str
    snapshot: str
    items: tuple[str, ...]
    ts: int
    track: str = "stable"
    experiment: str = ""


def check_id(value: object, field: str) -> str:
    """Return ``value`` if it is a usable id (1–256 bytes of UTF-8, no control characters), else raise."""
    if not isinstance(value, str):
        raise InvalidRecord("bad-id", f"{field} must be a string, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidRecord("bad-id", f"{field} must be valid UTF-8; remove the lone surrogate") from error
    if not value:
        raise InvalidRecord("bad-id", f"{field} is empty; give 1 to {MAX_ID_BYTES} bytes of UTF-8")
    if size > MAX_ID_BYTES:
        raise InvalidRecord(
            "bad-id", f"{field} must be 1 to {MAX_ID_BYTES} bytes of UTF-8, not {size}; shorten it"
        )
    if not value.isprintable() and any(character < " " or character == "\x7f" for character in value):
        raise InvalidRecord("bad-id", f"{field} must not contain control characters; remove them")
    return value


def _parse_json(payload: bytes) -> Any:
    if len(payload) > MAX_RECORD_BYTES:
        raise InvalidRecord(
            "too-large", f"a record may have {MAX_RECORD_BYTES} bytes, this one has {len(payload)}; split it"
        )
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("bad-json", f"the record is not JSON: {error}") from error


def check_depth(value: Any, depth: int = MAX_DEPTH) -> None:
    """Raise if ``value`` nests deeper than ``depth`` objects or arrays."""
    if depth < 0:
        raise InvalidRecord("too-deep", f"nest at most {MAX_DEPTH} objects or arrays in one another")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        check_depth(child, depth - 1)


def _convert(document: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidRecord("bad-field", sentence(error, kind, "the record")) from error


def interaction_from(document: Any) -> Interaction | Forget:
    """Check a decoded JSON value and return the record it stands for."""
    if not isinstance(document, dict):
        raise InvalidRecord("bad-shape", "an interaction must be a JSON object with user_id and item_id")
    check_depth(document)
    if "control" in document:
        return _forget_from(document)
    _require(document, "user_id", "item_id")
    record = _convert(document, Interaction)
    check_id(record.user_id, "user_id")
    check_id(record.item_id, "item_id")
    for field in ("event", "session_id", "event_id", "request_id"):
        value = getattr(record, field)
        if value is not None:
            check_id(value, field)
    if not math.isfinite(record.value) or not 0 < record.value <= 1e6:
        raise InvalidRecord("bad-field", f"value must be above 0 and at most 1e6, not {record.value}")
    if record.ts is not None and not 0 <= record.ts < 1 << 53:
        raise InvalidRecord("bad-field", f"ts must be Unix milliseconds, not {record.ts}")
    return record


def _forget_from(document: dict[str, Any]) -> Forget:
    _require(document, "user_id")
    record = _convert(document, Forget)
    check_id(record.user_id, "user_id")
    if record.control != "forget":
        raise InvalidRecord("bad-control", f'control must be "forget", not "{record.control[:40]}"')
    return record


def _require(document: dict[str, Any], *fields: str) -> None:
    for field in fields:
        if field not in document:
            raise InvalidRecord("missing-field", f"{field} is missing; add it")


_PLAIN_BYTES: Final = 1024
_PLAIN_LENGTH: Final = MAX_ID_BYTES // 4  # characters; none has more than four bytes
_PLAIN_AT_ONCE: Final = 128  # payloads; an unusual one costs its neighbours a second look
_PLAIN_WORTH: Final = 8  # fewer are read one by one
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=_PLAIN_LENGTH)]
_Value = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_Time = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class _Plain(Interaction, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An interaction with nothing unusual about it, control characters aside: what most payloads are."""

    user_id: _Id
    item_id: _Id
    event: _Id = "view"
    value: _Value = 1.0
    ts: _Time | None = None
    session_id: _Id | None = None
    event_id: _Id | None = None
    request_id: _Id | None = None


_PLAIN: Final = msgspec.json.Decoder(_Plain)


def _plain(payload: bytes) -> Interaction | None:
    """Read a payload in one go; None for anything that is to be read with care, good or bad."""
    if payload[:1] != b"{" or len(payload) > _PLAIN_BYTES:
        return None
    try:
        read = _PLAIN.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    made = Interaction(
        user_id=read.user_id,
        item_id=read.item_id,
        event=read.event,
        value=read.value,
        ts=read.ts,
        session_id=read.session_id,
        event_id=read.event_id,
        request_id=read.request_id,
    )
    return made if _printable(payload, [made]) else None


def _printable(text: bytes, read: Sequence[Interaction]) -> bool:
    """Return whether the ids that were ``read`` from ``text`` hold no control character, without looking closely.

    JSON holds one in a string only behind a backslash, but for DEL and what is beyond ASCII.
    """
    if text.isascii() and b"\\" not in text and b"\x7f" not in text:
        return True
    words = [
        each or ""
        for one in read
        for each in (one.user_id, one.item_id, one.event, one.session_id, one.event_id, one.request_id)
    ]
    return "".join(words).isprintable()


Decoded = Interaction | Forget | InvalidRecord


def decode_interactions(payloads: Sequence[bytes]) -> list[Decoded]:
    """Do what :func:`decode_interaction` does with each payload, many at once; errors are returned, not raised.

    An interaction may be of a subclass: its fields are what counts.
    """
    made: list[Decoded] = []
    for start in range(0, len(payloads), _PLAIN_AT_ONCE):
        made += _decode_some(payloads[start : start + _PLAIN_AT_ONCE])
    return made


def _decode_some(payloads: Sequence[bytes]) -> Sequence[Decoded]:
    if len(payloads) < _PLAIN_WORTH:
        return [_outcome(payload) for payload in payloads]
    read = _all_plain(payloads)
    if read is not None:
        return read
    middle = len(payloads) // 2
    return [*_decode_some(payloads[:middle]), *_decode_some(payloads[middle:])]


def _all_plain(payloads: Sequence[bytes]) -> Sequence[Interaction] | None:
    """Read plain payloads as lines in one go; None if one is not plain.

    The decoder takes any blank for the end of a line, so it is made sure that each payload is one object: all
    begin with ``{``, end with ``}`` and break no line. No object reaches from one into the next, because a string
    may not break a line and no field holds an object; so as many objects as payloads are one in each.
    """
    lines, breaks = b"\n".join(payloads), len(payloads) - 1
    if not (
        lines[:1] == b"{"
        and lines[-1:] == b"}"
        and lines.count(b"\n") == breaks
        and lines.count(b"}\n{") == breaks
        and max(map(len, payloads)) <= _PLAIN_BYTES
    ):
        return None
    try:
        read = _PLAIN.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return read if len(read) == len(payloads) and _printable(lines, read) else None


def _outcome(payload: bytes) -> Decoded:
    try:
        return decode_interaction(payload)
    except InvalidRecord as error:
        return error


def decode_interaction(payload: bytes) -> Interaction | Forget:
    """Read an interaction topic's payload: JSON, or the plain text form ``user:item``."""
    return _plain(payload) or _with_care(payload)


def _with_care(payload: bytes) -> Interaction | Forget:
    if payload.lstrip(_BEFORE_JSON)[:1] in (b"{", b"["):
        return interaction_from(_parse_json(payload))
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("bad-utf8", "the record is neither JSON nor UTF-8 text user:item") from error
    user_id, colon, item_id = text.strip().partition(":")
    if not colon:
        raise InvalidRecord("bad-shape", "send a JSON object or the text user:item")
    return Interaction(user_id=check_id(user_id, "user_id"), item_id=check_id(item_id, "item_id"))


def item_from(document: Any) -> Item:
    """Check a decoded JSON value and return the item it stands for."""
    if not isinstance(document, dict):
        raise InvalidRecord("bad-shape", "an item must be a JSON object with item_id")
    check_depth(document)
    _require(document, "item_id")
    item = _convert(document, Item)
    check_id(item.item_id, "item_id")
    _check_features(item.features)
    return item


def user_from(document: Any) -> User:
    """Check a decoded JSON value and return the user it stands for."""
    if not isinstance(document, dict):
        raise InvalidRecord("bad-shape", "a user must be a JSON object with user_id")
    check_depth(document)
    _require(document, "user_id")
    user = _convert(document, User)
    check_id(user.user_id, "user_id")
    _check_features(user.features)
    for name, weight in user.interests.items():
        if not math.isfinite(weight):
            raise InvalidRecord("bad-field", f"interests.{name[:40]} must be a finite number")
    return user


def _check_features(features: Features) -> None:
    if len(features) > MAX_FEATURES:
        raise InvalidRecord("bad-field", f"features may hold {MAX_FEATURES} words, not {len(features)}")
    for feature in features:
        check_id(feature, "features")


def decode_item(payload: bytes) -> Item:
    """Read an ``items`` payload."""
    return item_from(_parse_json(payload))


def decode_user(payload: bytes) -> User:
    """Read a ``users`` payload."""
    return user_from(_parse_json(payload))


def decode_answer(payload: bytes) -> Answer:
    """Read an ``answers`` payload (written by recommenders alone)."""
    try:
        return msgspec.json.decode(payload, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord("bad-field", f"not an answer: {error}") from error


def encode(record: Interaction | Forget | Item | User | Answer) -> bytes:
    """Return the JSON payload of a record."""
    return msgspec.json.encode(record)
