"""API keys: what they may do, how one is recognised, and who is let through. Pure.

A key is 256 random bits, so a plain SHA-256 of it cannot be searched for; only that is stored.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from sluice.errors import SluiceError
from sluice.wording import sentence

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
ADMIN: Final[Scope] = "admin"
SCHEME: Final = "Bearer"
MAX_KEYS: Final = 1_000

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$", max_length=63)]


class InvalidKeys(SluiceError):
    """A file of keys cannot be read as such."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key: its name, the hex SHA-256 of its secret, and what it may do. A scope includes no other."""

    name: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]


class Keys:
    """The keys of one file."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self.all = tuple(keys)
        self._by_digest = [(bytes.fromhex(key.sha256), key) for key in self.all]

    def find(self, secret: str) -> Key | None:
        """Return the key whose secret this is; takes as long whichever it is."""
        given, found = hashlib.sha256(secret.encode()).digest(), None
        for digest, key in self._by_digest:
            if hmac.compare_digest(digest, given):
                found = key
        return found

    def any_with(self, scope: Scope) -> bool:
        """Return whether some key has ``scope``."""
        return any(scope in key.scopes for key in self.all)


def new(name: str, scopes: Iterable[str], secret: str) -> Key:
    """Return the key of ``secret``; raises :class:`InvalidKeys` naming an unusable name or scope."""
    values = {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "scopes": tuple(scopes)}
    key: Key = _convert(values, Key, "the key")
    return key


def parse(data: bytes) -> Keys:
    """Return the keys of a file's content; raises :class:`InvalidKeys` (two of one name, or no such list)."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidKeys("it is not JSON; make it with sluice keys create") from error
    keys = _convert(document, Annotated[list[Key], Meta(max_length=MAX_KEYS)], "the file")
    if len({key.name for key in keys}) != len(keys):
        raise InvalidKeys("it holds a name twice; revoke one of them")
    return Keys(keys)


def serialize(keys: Sequence[Key]) -> bytes:
    """Return the content of a file of these keys."""
    return msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n"


def _convert(document: object, kind: Any, root: str) -> Any:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidKeys(sentence(error, kind, root)) from error


class Denied(NamedTuple):
    """Why a request is not let through: the status and a sentence."""

    status: int
    reason: str
    detail: str


class Policy(NamedTuple):
    """Which scopes ask for a key. ``admin`` does unless ``local``; it is refused while no key has it."""

    required: frozenset[Scope] = frozenset()
    local: bool = False

    def open(self, scope: Scope) -> bool:
        """Return whether everybody has ``scope``."""
        return self.local if scope == ADMIN else scope not in self.required


def judge(policy: Policy, keys: Keys, authorization: str | None, scope: Scope) -> Key | Denied | None:
    """Return the key by which a request may do what ``scope`` stands for, None if that needs none, or why it may not.

    ``authorization`` is the header of that name.
    """
    if policy.open(scope):
        return None
    if scope == ADMIN and not keys.any_with(ADMIN):
        return Denied(
            403,
            "no-admin-key",
            "this needs a key with scope admin, and none exists; make one: sluice keys create",
        )
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != SCHEME.lower() or not secret.strip():
        return Denied(
            401, "key-missing", f"this needs a key with scope {scope}; send Authorization: Bearer <key>"
        )
    key = keys.find(secret.strip())
    if key is None:
        return Denied(
            401, "key-unknown", "the key is unknown or was revoked; send one that sluice keys list names"
        )
    if scope not in key.scopes:
        return Denied(403, "scope-missing", f"the key {key.name} lacks scope {scope}; use one that has it")
    return key
