"""Who is let through, and what a file of keys may hold."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from sluice_recommender.api.keys import InvalidKeys, Key, Keys, Policy, judge, new, parse, serialize
from sluice_recommender.api.keys_file import KeysFile, changing

READ, ALL = new("reader", ["read"], "r"), new("boss", ["read", "write", "admin"], "b")
REQUIRED = Policy(frozenset({"read", "write"}))


@pytest.mark.parametrize(
    ("policy", "header", "scope", "status"),
    [
        (Policy(), None, "read", None),
        (Policy(), "Bearer unknown", "write", None),  # an open scope looks at no key
        (Policy(), None, "admin", 401),
        (Policy(local=True), None, "admin", None),
        (REQUIRED, None, "read", 401),
        (REQUIRED, "", "read", 401),
        (REQUIRED, "Bearer", "read", 401),
        (REQUIRED, "Bearer ", "read", 401),
        (REQUIRED, "Basic r", "read", 401),
        (REQUIRED, "Bearer R", "read", 401),
        (REQUIRED, "Bearer ä", "read", 401),
        (REQUIRED, "Bearer r", "read", None),
        (REQUIRED, "bearer  r", "read", None),
        (REQUIRED, "Bearer r", "write", 403),
        (REQUIRED, "Bearer r", "admin", 403),
        (REQUIRED, "Bearer b", "admin", None),
    ],
)
def test_judge(policy, header, scope, status):
    refused = judge(policy, Keys([READ, ALL]), header, scope)
    assert getattr(refused, "status", None) == status
    if status == 403:
        assert f"scope {scope}" in refused.detail


def test_the_key_is_told():
    assert judge(REQUIRED, Keys([READ, ALL]), "Bearer b", "admin") == ALL


def test_admin_needs_a_key_that_has_it():
    refused = judge(REQUIRED, Keys([READ]), "Bearer r", "admin")
    assert (refused.status, refused.reason) == (403, "no-admin-key")


def test_a_file_of_keys_comes_back():
    assert parse(serialize([READ, ALL])).all == (READ, ALL)
    assert parse(b"[]").all == ()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        ({}, "the file must be a list"),
        ([{"name": "a", "scopes": ["read"]}], "sha256 is missing"),
        ([{"name": "a", "sha256": "short", "scopes": ["read"]}], "sha256 must be"),
        ([{"name": "a", "sha256": READ.sha256, "scopes": []}], "scopes must be"),
        ([{"name": "a", "sha256": READ.sha256, "scopes": ["read"], "secret": "r"}], "secret is unknown"),
        ([msgspec.to_builtins(READ)] * 2, "twice"),
    ],
)
def test_what_is_no_file_of_keys(document, words):
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    with pytest.raises(InvalidKeys, match=words):
        parse(data)


def test_only_a_digest_is_kept():
    key = new("a", ["read"], "secret")
    assert key == Key("a", hashlib.sha256(b"secret").hexdigest(), ("read",))


def test_no_path_and_no_file_are_no_keys(tmp_path):
    assert KeysFile(None).keys.all == ()
    assert KeysFile(tmp_path / "none.json").keys.all == ()


def test_a_revocation_that_cannot_be_read_at_once_is_read_later(tmp_path, monkeypatch):
    path, now = tmp_path / "keys.json", [0.0]
    path.write_bytes(serialize([READ, ALL]))
    kept = KeysFile(path, lambda: now[0])
    path.write_bytes(serialize([ALL]))

    def look():
        now[0] += 1.0
        return kept.keys.all

    def unreadable(_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", unreadable)
        assert look() == (READ, ALL)
    assert look() == (ALL,)


def test_a_change_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "keys.json"
    with changing(path) as keys:
        keys.append(READ)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), changing(path) as keys:  # noqa: PT012
        keys.clear()
        raise RuntimeError
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]
