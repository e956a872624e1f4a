"""`sluice snapshots`: what the catalog lists is shown, and one flipped bit is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sluice.catalog import CatalogEntry
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog
from sluice.encoder import NeighboursEncoder
from sluice.snapshot import manifest, writer
from sluice.snapshot.content import NeighboursContent, UnitContent
from sluice_cli.main import app

KEY = "default.demo"
NAMES = ("covisitation-000000010-aaaa", "covisitation-000000020-bbbb")


def write(home: Home, name: str) -> None:
    part = NeighboursContent(
        identifiers=["a", "b", "c"],
        rows=np.array([[1, 2], [0, 2], [0, 1]], dtype=np.int32),
        similarities=np.ones((3, 2), dtype=np.float32),
    )
    provenance = {
        "id": name, "model": KEY, "parent": None, "algorithm": "CoVisitation", "parameters": {}, "spec_hash": "s",
        "seed": 0, "code_version": "0", "created": 1_700_000_000.0, "offsets": {}, "interactions": 1_234,
        "metrics": {"recall@20": 0.118, "popular:recall@20": 0.0944},
    }  # fmt: skip
    directory = home.snapshots(KEY) / name
    directory.parent.mkdir(parents=True, exist_ok=True)
    content = UnitContent(parts={"items": part}, encoder=NeighboursEncoder(decay=0.95))
    made = writer.write(directory, content, provenance)
    catalog = EmbeddedCatalog(home.model(KEY))
    catalog.commit(
        CatalogEntry(
            id=name,
            uri=directory.as_uri(),
            digest=manifest.digest(directory / manifest.MANIFEST),
            parent=None,
            algorithm="CoVisitation",
            spec_hash="s",
            epoch=1,
            created=made.created,
            interactions=made.interactions,
            bytes=made.bytes,
            metrics=made.metrics,
        )
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in NAMES:
        write(Home(tmp_path), name)
    return tmp_path


def run(home: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["snapshots", *arguments, "--home", str(home)])
    return result.exit_code, result.stdout, result.stderr


def test_the_catalog_is_listed_in_order(home: Path) -> None:
    code, out, _ = run(home, "list")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["snapshot", *NAMES]
    assert lines[1].split()[1:6] == ["2023-11-14", "22:13:20Z", "1,234", ".118", ".094"]


def test_the_list_as_json_is_the_catalog(home: Path) -> None:
    assert [entry["id"] for entry in json.loads(run(home, "list", "--json")[1])] == list(NAMES)


def test_show_prints_the_manifest(home: Path) -> None:
    assert json.loads(run(home, "show", NAMES[0])[1])["parts"]["items"]["kind"] == "neighbours"


def test_an_unknown_snapshot_is_wrong_input(home: Path) -> None:
    code, _, err = run(home, "show", "absent")
    assert code == 2
    assert err == "sluice: the catalog of default.demo has no snapshot absent; see sluice snapshots list\n"


def test_sound_snapshots_verify(home: Path) -> None:
    code, out, _ = run(home, "verify")
    assert code == 0
    assert out.count("sound:") == 2


def test_a_flipped_bit_is_found_and_the_other_snapshot_is_still_checked(home: Path) -> None:
    path = Home(home).snapshots(KEY) / NAMES[0] / "items.neighbours.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, out, _ = run(home, "verify")
    assert code == 1
    assert f"{NAMES[0]}  refused: items.neighbours.npy of {NAMES[0]} has a wrong checksum" in out
    assert f"{NAMES[1]}  sound" in out


def test_a_directory_without_catalog_entry_is_named_but_no_failure(home: Path) -> None:
    (Home(home).snapshots(KEY) / "gmf-stray").mkdir()
    code, out, _ = run(home, "verify")
    assert code == 0
    assert "gmf-stray  no catalog entry" in out


def test_verify_takes_ids(home: Path) -> None:
    assert run(home, "verify", NAMES[1])[1].startswith(f"{NAMES[1]}  sound")


def test_a_second_model_must_be_named(home: Path) -> None:
    assert EmbeddedCatalog(Home(home).model("default.other")).entries() == []
    code, _, err = run(home, "list")
    assert code == 2
    assert "give --model as one of default.demo, default.other" in err
    assert run(home, "list", "--model", "default.demo")[0] == 0
    assert "does not know model default.nope" in run(home, "list", "--model", "default.nope")[2]
