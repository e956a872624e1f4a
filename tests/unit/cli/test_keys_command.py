"""`sluice keys`: what is printed, what is stored, what is refused."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice_cli.main import app
from sluice_recommender.api.keys import Policy, judge
from sluice_recommender.api.keys_file import KeysFile


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def create(file: Path, name: str, *scopes: str) -> str:
    code, out, err = run(
        "create", name, *(word for each in scopes for word in ("--scope", each)), "--file", file
    )
    assert code == 0, err
    return out.strip()


def test_a_key_is_printed_once_and_stored_hashed(file: Path) -> None:
    secret = create(file, "shop", "read", "write")
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == [
        {"name": "shop", "sha256": hashlib.sha256(secret.encode()).hexdigest(), "scopes": ["read", "write"]}
    ]
    assert [each.name for each in file.parent.iterdir()] == ["keys.json"]


def test_a_running_api_takes_new_keys_and_drops_revoked_ones(file: Path) -> None:
    now = [0.0]
    kept = KeysFile(file, lambda: now[0])
    policy = Policy(frozenset({"read"}))

    def status(secret: str) -> int | None:
        now[0] += 1.0
        return getattr(judge(policy, kept.keys, f"Bearer {secret}", "read"), "status", None)

    first, second = create(file, "first", "read"), create(file, "second", "admin")
    assert (status(first), status(second), status("other")) == (None, 403, 401)
    assert run("revoke", "first", "--file", file) == (0, "revoked first\n", "")
    assert status(first) == 401
    file.write_text("half a fi")
    assert (status(first), status(second)) == (401, 403)  # the last good keys stay
    file.unlink()
    assert status(second) == 401


def test_keys_are_listed_without_secrets(file: Path) -> None:
    create(file, "shop", "read", "write")
    assert json.loads(run("list", "--file", file, "--json")[1]) == [
        {"name": "shop", "scopes": ["read", "write"]}
    ]
    assert "shop  read, write" in run("list", "--file", file)[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "shop", "--scope", "read"), "has a key shop already"),
        (("create", "Shop!", "--scope", "read"), "name must be"),
        (("create", "other", "--scope", "root"), 'scopes[0] must be "admin" or "read" or "write"'),
        (("revoke", "other"), "has no key other"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    file: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    create(file, "shop", "read")
    before = file.read_bytes()
    code, out, err = run(*arguments, "--file", file)
    assert (code, out) == (2, "")
    assert sentence in err
    assert file.read_bytes() == before


@pytest.mark.parametrize("arguments", [("create", "shop", "--scope", "read"), ("revoke", "shop")])
def test_a_missing_folder_is_named_and_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments, "--file", tmp_path / "new" / "keys.json")
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'new'} is no folder" in err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_revoked_from_a_file_that_does_not_exist(file: Path) -> None:
    code, _, err = run("revoke", "shop", "--file", file)
    assert (code, "has no key shop" in err) == (2, True)
    assert not file.exists()


@pytest.mark.parametrize("content", ["{", "{}", '[{"name":"a"}]', "[1]"])
def test_a_file_of_something_else_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    code, _, err = run("list", "--file", file)
    assert code == 2
    assert str(file) in err
