"""The snapshot unit: what is written is read back, and anything else than that is refused."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from sluice.encoder import (
    ConstantEncoder,
    MeanEncoder,
    NeighboursEncoder,
    Query,
    RecentInteraction,
    RidgeEncoder,
)
from sluice.errors import SnapshotRefused
from sluice.snapshot import ids, manifest, writer
from sluice.snapshot.content import NeighboursContent, UnitContent, VectorsContent
from sluice.snapshot.ids import IdMap
from sluice.snapshot.unit import Unit
from sluice.snapshot.verify import verify

NAMES = ["a", "ü—🙂", "b:c", "x" * 256, "a0", "0"]


def provenance(name: str) -> dict:
    return {
        "id": name,
        "model": "default.m",
        "parent": None,
        "algorithm": "GMF",
        "parameters": {"dimension": 4},
        "spec_hash": "h",
        "seed": 1,
        "code_version": "0",
        "created": 1.5,
        "offsets": {"shop.interactions[0]": (0, 9)},
        "interactions": 9,
        "metrics": {"recall@20": 0.25},
    }


def vectors(names=NAMES, width=4) -> UnitContent:
    matrix = np.random.default_rng(1).normal(size=(len(names), width)).astype(np.float32)
    encoder = RidgeEncoder(
        np.ones(width, np.float32), matrix.T @ matrix, decay=0.9, ridge=1.0, background=0.1
    )
    part = VectorsContent(identifiers=list(names), matrix=matrix)
    return UnitContent(parts={"items": part}, encoder=encoder, event_weights={"cart": 3.0})


def neighbours(names=NAMES, width=3) -> UnitContent:
    chance = np.random.default_rng(2)
    rows = np.array(
        [[(row + step) % len(names) for step in range(1, width + 1)] for row in range(len(names))], np.int32
    ).reshape(len(names), width)
    similarities = -np.sort(-chance.uniform(0.1, 1.0, rows.shape).astype(np.float32), axis=1)
    rows[:1, -1:], similarities[:1, -1:] = -1, 0.0
    part = NeighboursContent(identifiers=list(names), rows=rows, similarities=similarities)
    return UnitContent(parts={"items": part}, encoder=NeighboursEncoder(decay=0.5))


CONTENTS = {"vectors": vectors, "neighbours": neighbours}


@pytest.fixture(params=sorted(CONTENTS))
def content(request) -> UnitContent:
    return CONTENTS[request.param]()


@pytest.fixture
def written(tmp_path, content):
    directory = tmp_path / "store" / "snap-1"
    made = writer.write(directory, content, provenance("snap-1"))
    return SimpleNamespace(directory=directory, made=made, content=content)


def rewrite(directory, change) -> None:
    document = json.loads((directory / "manifest.json").read_text())
    change(document)
    (directory / "manifest.json").write_text(json.dumps(document))


# --- written and read back


def test_a_unit_is_read_back_as_it_was_written(written):
    assert verify(written.directory) == written.made
    unit = Unit.open(written.directory)
    given = written.content.parts["items"]
    assert unit.items.ids.all() == NAMES
    assert unit.manifest.encoder.event_weights == written.content.event_weights
    assert unit.encoder.parameters() == written.content.encoder.parameters()
    for name, array in written.content.encoder.arrays().items():
        np.testing.assert_array_equal(unit.encoder.arrays()[name], array)
    if isinstance(given, VectorsContent):
        np.testing.assert_array_equal(unit.items.matrix, given.matrix)
        np.testing.assert_allclose(unit.items.norms, np.linalg.norm(given.matrix, axis=1), rtol=1e-6)
    else:
        np.testing.assert_array_equal(unit.items.rows, given.rows)
        np.testing.assert_array_equal(unit.items.similarities, given.similarities)


def test_the_manifest_tells_every_file_with_size_and_checksum(written):
    names = {path.name for path in written.directory.iterdir()}
    assert set(written.made.files) == names - {"manifest.json"}
    for name, file in written.made.files.items():
        data = (written.directory / name).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert written.made.bytes == sum(file.bytes for file in written.made.files.values())
    assert written.made.offsets == {"shop.interactions[0]": (0, 9)}


def test_equal_content_gives_equal_bytes(tmp_path, content):
    for place in ("one", "two"):
        writer.write(tmp_path / place / "snap-1", content, provenance("snap-1"))
    for path in (tmp_path / "one" / "snap-1").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "snap-1" / path.name).read_bytes()


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_an_empty_unit_is_sound_and_recommends_nothing(tmp_path, kind):
    content = CONTENTS[kind](names=[])
    if kind == "vectors":
        part = VectorsContent(identifiers=[], matrix=np.empty((0, 4), np.float32))
        content = UnitContent(parts={"items": part}, encoder=content.encoder)
    writer.write(tmp_path / "snap-1", content, provenance("snap-1"))
    verify(tmp_path / "snap-1")
    unit = Unit.open(tmp_path / "snap-1")
    assert len(unit.items.ids) == 0
    assert unit.recommend([], 5, ["a"]) == []
    assert unit.recommend([RecentInteraction("a")], 5, []) == []
    assert unit.similar("a", 5) is None


def test_nothing_of_that_name_exists_after_a_failed_write(tmp_path, content):
    def fail(_unit):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.write(tmp_path / "snap-1", content, provenance("snap-1"), fail)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_an_earlier_unit_of_that_name(written):
    def fail(_unit):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.write(written.directory, written.content, provenance("snap-1"), fail)
    assert verify(written.directory) == written.made


def test_what_is_measured_on_the_written_unit_joins_its_metrics(tmp_path, content):
    def measure(unit):
        return {"indexRecall": float(len(unit.items.ids))}

    made = writer.write(tmp_path / "snap-1", content, provenance("snap-1"), measure)
    assert made.metrics == {"recall@20": 0.25, "indexRecall": 6.0}
    assert verify(tmp_path / "snap-1").metrics == made.metrics


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_never_written(tmp_path, bad):
    content = vectors()
    content.parts["items"].matrix[2, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        writer.write(tmp_path / "snap-1", content, provenance("snap-1"))
    assert list(tmp_path.iterdir()) == []


# --- damaged


def test_every_truncation_of_every_file_is_refused_by_name(written):
    for path in sorted(written.directory.iterdir()):
        data = path.read_bytes()
        for length in sorted({0, 1, len(data) // 3, len(data) // 2, len(data) - 8, len(data) - 1}):
            if 0 <= length < len(data):
                path.write_bytes(data[:length])
                with pytest.raises(SnapshotRefused, match=path.name.replace(".", r"\.")):
                    verify(written.directory)
        path.write_bytes(data + b"\0")
        with pytest.raises(SnapshotRefused, match=path.name.replace(".", r"\.")):
            verify(written.directory)
        path.write_bytes(data)
    assert verify(written.directory) == written.made


def test_one_flipped_bit_in_any_region_of_any_file_is_refused_by_name(written):
    for path in sorted(set(written.directory.iterdir()) - {written.directory / "manifest.json"}):
        data = path.read_bytes()
        for place in sorted({*range(0, len(data), max(1, len(data) // 23)), len(data) - 1}):
            flipped = bytearray(data)
            flipped[place] ^= 1 << (place % 8)
            path.write_bytes(flipped)
            with pytest.raises(SnapshotRefused, match=path.name.replace(".", r"\.")):
                verify(written.directory)
        path.write_bytes(data)
    assert verify(written.directory) == written.made


def test_one_flipped_bit_anywhere_in_the_manifest_is_refused_against_the_catalogs_digest(written):
    path = written.directory / "manifest.json"
    data, digest = path.read_bytes(), manifest.digest(path)
    for place in range(0, len(data), 3):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(SnapshotRefused):
                verify(written.directory, digest)
    path.write_bytes(data)
    assert verify(written.directory, digest) == written.made


def test_swapped_files_are_refused(tmp_path, written):
    names = sorted(written.made.files)
    sizes: dict[int, list[str]] = {}
    for name in names:
        sizes.setdefault(written.made.files[name].bytes, []).append(name)
    pairs = [(names[0], names[1]), *[(same[0], same[1]) for same in sizes.values() if len(same) > 1]]
    for one, two in pairs:
        copy = tmp_path / "copy" / "snap-1"
        shutil.copytree(written.directory, copy)
        (copy / one).rename(copy / "hold")
        (copy / two).rename(copy / one)
        (copy / "hold").rename(copy / two)
        with pytest.raises(SnapshotRefused):
            verify(copy)
        shutil.rmtree(copy)


def test_a_file_of_another_snapshot_is_refused(tmp_path, written):
    other = tmp_path / "snap-2"
    changed = CONTENTS[
        "vectors" if isinstance(written.content.parts["items"], VectorsContent) else "neighbours"
    ]
    writer.write(other, changed(names=[*NAMES[:-1], "1"]), provenance("snap-2"))
    shutil.copy(other / "items.ids.npy", written.directory / "items.ids.npy")
    with pytest.raises(SnapshotRefused, match=r"items\.ids\.npy"):
        verify(written.directory)


def test_a_missing_file_is_refused_by_name(written):
    for name in written.made.files:
        (written.directory / name).rename(written.directory.parent / "away")
        with pytest.raises(SnapshotRefused, match=name.replace(".", r"\.")):
            verify(written.directory)
        (written.directory / name).mkdir()
        with pytest.raises(SnapshotRefused, match=name.replace(".", r"\.")):
            verify(written.directory)
        (written.directory / name).rmdir()
        (written.directory.parent / "away").rename(written.directory / name)


@pytest.mark.parametrize("extra", ["extra.npy", ".hidden", "items.matrix.npy.bak", "folder/"])
def test_a_file_that_the_manifest_does_not_name_is_refused(written, extra):
    path = written.directory / extra
    path.mkdir() if extra.endswith("/") else path.write_bytes(b"")
    with pytest.raises(SnapshotRefused, match=extra.strip("/").replace(".", r"\.")):
        verify(written.directory)


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(SnapshotRefused, match="gone"):
        verify(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnapshotRefused, match=r"manifest\.json of empty"):
        verify(tmp_path / "empty")


# --- hostile or foreign manifests


@pytest.mark.parametrize(
    "name", ["../x", "../../x", "sub/x", "/etc/hostname", "./items.ids.npy", "items.ids.npy/", ".", "..", ""]
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(written, name):
    for outside in (written.directory.parent / "x", written.directory.parent.parent / "x"):
        outside.write_bytes(b"secret")

    def add(document):
        known = document["files"]["items.ids.npy"]
        secret = {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
        document["files"][name] = secret if name.endswith("x") else known

    rewrite(written.directory, add)
    with pytest.raises(SnapshotRefused):
        verify(written.directory)


def test_the_manifest_of_another_snapshot_is_refused(written):
    rewrite(written.directory, lambda document: document.update(id="snap-2"))
    with pytest.raises(SnapshotRefused, match="snap-2"):
        verify(written.directory)


def test_a_manifest_of_another_schema_version_is_refused(written):
    for version in (manifest.SCHEMA_VERSION + 1, 0, -1):
        rewrite(written.directory, lambda document, version=version: document.update(schema_version=version))
        with pytest.raises(SnapshotRefused, match="schema version"):
            verify(written.directory)


def test_another_manifest_than_the_catalogs_is_refused(written):
    digest = manifest.digest(written.directory / "manifest.json")
    assert verify(written.directory, digest) == written.made
    with pytest.raises(SnapshotRefused, match="catalog"):
        verify(written.directory, "0" * 64)
    rewrite(written.directory, lambda document: document["metrics"].update({"indexRecall": 1.0}))
    with pytest.raises(SnapshotRefused, match="catalog"):
        verify(written.directory, digest)


BROKEN = [b"", b"{}", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"id":"\xff"}', b"{" + b'"a":{' * 5_000]


@pytest.mark.parametrize("data", BROKEN, ids=[repr(data[:12]) for data in BROKEN])
def test_a_manifest_that_is_none_is_refused(written, data):
    (written.directory / "manifest.json").write_bytes(data)
    with pytest.raises(SnapshotRefused, match=r"manifest\.json"):
        verify(written.directory)


@pytest.mark.parametrize("name", ["Snap", "a/b", "../a", "", "-a", "a-", "x" * 64, "a b", "ü"])
def test_a_snapshots_id_is_a_dns_label(written, name):
    rewrite(written.directory, lambda document: document.update(id=name))
    with pytest.raises(SnapshotRefused):
        verify(written.directory)


# --- opened without fitting files (a writer's mistake: checksums are right, contents are not)


def replaced(directory, name, array):
    with (directory / name).open("wb") as stream:
        np.save(stream, array)


@pytest.mark.parametrize("name", ["items.matrix.npy", "items.norms.npy", "items.ends.npy", "items.rows.npy"])
def test_a_unit_whose_files_have_different_numbers_of_rows_is_not_opened(tmp_path, name):
    writer.write(tmp_path / "snap-1", vectors(), provenance("snap-1"))
    replaced(tmp_path / "snap-1", name, np.load(tmp_path / "snap-1" / name)[:-1])
    with pytest.raises(SnapshotRefused):
        Unit.open(tmp_path / "snap-1", with_index=False)


@pytest.mark.parametrize("name", ["items.neighbours.npy", "items.similarities.npy"])
def test_neighbours_that_do_not_fit_each_other_are_not_opened(tmp_path, name):
    writer.write(tmp_path / "snap-1", neighbours(), provenance("snap-1"))
    replaced(tmp_path / "snap-1", name, np.load(tmp_path / "snap-1" / name)[:-1])
    with pytest.raises(SnapshotRefused):
        Unit.open(tmp_path / "snap-1")


def test_an_array_of_python_objects_is_never_unpickled(tmp_path):
    writer.write(tmp_path / "snap-1", vectors(), provenance("snap-1"))
    with (tmp_path / "snap-1" / "items.matrix.npy").open("wb") as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SnapshotRefused, match=r"items\.matrix\.npy"):
        Unit.open(tmp_path / "snap-1")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["parts"].clear(),
        lambda document: document["parts"]["items"].update(kind="magic"),
        lambda document: document["parts"]["items"].update(kind="neighbours"),
        lambda document: document["encoder"].update(kind="magic"),
        lambda document: document["encoder"].update(parameters={}),
        lambda document: document["files"].pop("encoder.gram.npy"),
    ],
)
def test_a_manifest_that_does_not_fit_its_files_is_not_opened(tmp_path, change):
    writer.write(tmp_path / "snap-1", vectors(), provenance("snap-1"))
    rewrite(tmp_path / "snap-1", change)
    with pytest.raises(SnapshotRefused):
        Unit.open(tmp_path / "snap-1")


# --- asked


def test_neighbours_are_summed_over_the_recent_items():
    unit_rows = np.array([[1, 2], [0, -1], [0, 1]], np.int32)
    similarities = np.array([[0.9, 0.5], [0.9, 0.0], [0.5, 0.4]], np.float32)
    from sluice.snapshot.parts import NeighboursPart

    part = NeighboursPart(IdMap(ids.build(["a", "b", "c"])), unit_rows, similarities)
    query = Query(rows=np.array([[0, 2, -1]], np.int32), weights=np.array([[1.0, 0.5, 9.0]], np.float32))
    np.testing.assert_allclose(part.scores(query), [[0.25, 1.1, 0.5]], rtol=1e-6)
    assert part.search(query, 5, np.array([1], np.int32)).rows.tolist() == [2, 0]
    nobody = Query(rows=np.full((1, 3), -1, np.int32), weights=np.zeros((1, 3), np.float32))
    assert len(part.search(nobody, 5, np.empty(0, np.int32)).rows) == 0
    assert part.similar(1, 5, np.empty(0, np.int32)).rows.tolist() == [0]


@pytest.mark.parametrize("kind", ["mean", "constant"])
def test_a_query_of_another_width_is_refused(tmp_path, kind):
    prior = np.ones(3, np.float32)
    encoder = {"mean": MeanEncoder(prior, decay=0.9), "constant": ConstantEncoder(prior)}[kind]
    content = UnitContent(parts=vectors().parts, encoder=encoder)
    writer.write(tmp_path / "snap-1", content, provenance("snap-1"))
    with pytest.raises(SnapshotRefused, match=r"width|fit each other"):
        Unit.open(tmp_path / "snap-1")


# --- id maps


def test_every_id_is_found_at_its_row_and_nothing_else_is():
    names = [f"item-{number}" for number in range(500)] + NAMES
    found = IdMap(ids.build(names))
    assert found.all() == names
    assert found.rows_of(names).tolist() == list(range(len(names)))
    assert found.rows_of(["nope", "item-", "item-0 ", "", "item-0"]).tolist() == [-1, -1, -1, -1, 0]


def test_ids_that_share_a_hash_are_told_apart(monkeypatch):
    class Colliding:
        def __init__(self, data, digest_size):
            self.data, self.size = data, digest_size

        def digest(self):
            return bytes([len(self.data) % 2]) + bytes(self.size - 1)

    monkeypatch.setattr(ids, "blake2b", Colliding)
    names = [f"{'c' * (number % 5 + 1)}-{number}-collides" for number in range(60)]
    found = IdMap(ids.build(names))
    assert found.rows_of(names).tolist() == list(range(60))
    assert found.rows_of(["collides-unknown", "collides-unknown2"]).tolist() == [-1, -1]


def test_an_id_map_needs_distinct_ids_and_all_its_files():
    with pytest.raises(ValueError, match="distinct"):
        ids.build(["a", "b", "a"])
    arrays = ids.build(["a", "b"])
    for name in ids.FILES:
        with pytest.raises(SnapshotRefused, match=name):
            IdMap({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(SnapshotRefused, match="numbers of rows"):
        IdMap(arrays | {"hashes": arrays["hashes"][:1]})
