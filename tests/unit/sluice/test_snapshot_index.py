"""Large parts: the index that is chosen, what it finds beside exact search, what of it is refused."""

import json

import numpy as np
import pytest

from sluice.encoder import MeanEncoder, Query, RecentInteraction
from sluice.errors import SnapshotRefused
from sluice.snapshot import choice, writer
from sluice.snapshot.content import Histories, NeighboursContent, UnitContent, VectorsContent
from sluice.snapshot.fidelity import fidelity
from sluice.snapshot.index import FLAT, HNSW, IVF
from sluice.snapshot.unit import Unit
from sluice.snapshot.verify import verify

ROWS, WIDTH = 3_000, 8
NOTHING = np.empty(0, np.int32)


def clustered(rows=ROWS, seed=3):
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(40, WIDTH))
    return (centres[draw.integers(0, 40, rows)] + 0.3 * draw.normal(size=(rows, WIDTH))).astype(np.float32)


def mixed(rows, width=5):
    """Histories of unlike items: harder to answer than those of one item."""
    drawn = np.random.default_rng(11).integers(0, rows, (128, width)).astype(np.int32)
    return Histories(drawn, np.ones(drawn.shape, np.float32))


def content(matrix, histories=None):
    names = [f"i{row}" for row in range(len(matrix))]
    encoder = MeanEncoder(matrix.mean(axis=0), decay=0.9)
    part = VectorsContent(identifiers=names, matrix=matrix)
    return UnitContent(parts={"items": part}, encoder=encoder, histories=histories)


def provenance(name, parent=None):
    about = {"id": name, "parent": parent, "model": "default.m", "algorithm": "GMF", "parameters": {}}
    more = {"spec_hash": "h", "seed": 1, "code_version": "0", "created": 1.5, "offsets": {}}
    return {**about, **more, "interactions": 0, "metrics": {}}


@pytest.fixture(params=[FLAT, IVF, HNSW])
def kind(request, monkeypatch):
    """Make this the index type of small parts too."""
    if request.param != FLAT:
        monkeypatch.setattr(choice, "FLAT_ROWS", 100)
        monkeypatch.setattr(writer, "FLAT_ROWS", 100)
    if request.param == IVF:
        monkeypatch.setattr(choice, "CHEAP", 1.0)
    if request.param == HNSW:
        monkeypatch.setattr(choice, "CHEAP", 0.0)
        monkeypatch.setattr(choice, "WORTHWHILE", 2.0)
        monkeypatch.setattr(choice, "_IVF_READ", 1_000.0)
        monkeypatch.setattr(choice, "_HNSW_TRIAL", 1_000)
    return request.param


@pytest.fixture
def directory(tmp_path, kind):
    writer.write(tmp_path / "snap-1", content(clustered(), mixed(ROWS)), provenance("snap-1"))
    return tmp_path / "snap-1"


@pytest.fixture
def unit(directory):
    return Unit.open(directory)


def exact(unit, vector, k, hidden):
    scores = (unit.items.matrix @ vector).astype(np.float64)
    scores[hidden] = -np.inf
    order = np.lexsort((np.arange(len(scores)), -scores))
    return order[: min(k, len(scores) - len(hidden))]


def ask(unit, seed=5):
    draw = np.random.default_rng(seed)
    return unit.encode_rows(draw.integers(0, ROWS, (1, 5)).astype(np.int32), np.ones((1, 5), np.float32))


def share(found, wanted):
    return len(set(found.tolist()) & set(wanted.tolist())) / max(len(wanted), 1)


# --- chosen and told


def test_the_manifest_tells_the_index_with_its_parameters_and_fidelity(directory, kind, unit):
    part = verify(directory).parts["items"]
    assert part.index == kind
    assert sorted(part.parameters) == {FLAT: [], IVF: ["nlist", "nprobe"]}.get(
        kind, ["M", "efConstruction", "efSearch"]
    )
    assert part.fidelity >= 0.98
    assert (unit.items.index is None) == (kind == FLAT) != (directory / "items.index").exists()


def test_fidelity_is_measured_through_the_reader(unit, kind):
    asked = mixed(ROWS)
    assert fidelity(unit, asked)["indexRecall"] == pytest.approx(
        unit.manifest.parts["items"].fidelity, abs=1e-6
    )
    if kind != FLAT:
        unit.items.index.effort = 1
        unit.items.index.search = lambda vector, k, exclude, blocked: unit.items.search(
            Query(vectors=-vector[None, :]), k, exclude, only=np.arange(ROWS, dtype=np.int32)
        )
        assert fidelity(unit, asked)["indexRecall"] < 0.1


def test_the_effort_is_judged_by_what_users_ask(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "FLAT_ROWS", 100)
    monkeypatch.setattr(writer, "FLAT_ROWS", 100)
    monkeypatch.setattr(choice, "CHEAP", 1.0)
    asked = mixed(ROWS, 9)
    probes = [
        writer.write(tmp_path / name, content(clustered(), histories), provenance(name))
        .parts["items"]
        .parameters["nprobe"]
        for name, histories in (("one", None), ("two", asked))
    ]
    assert probes[1] > probes[0]
    assert fidelity(Unit.open(tmp_path / "two"), asked)["indexRecall"] >= 0.98
    assert fidelity(Unit.open(tmp_path / "one"), asked)["indexRecall"] < 0.98


def test_equal_content_gives_equal_bytes(tmp_path, directory):
    writer.write(tmp_path / "again" / "snap-1", content(clustered(), mixed(ROWS)), provenance("snap-1"))
    for path in directory.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "snap-1" / path.name).read_bytes()


def test_small_parts_are_searched_exactly_and_large_ones_by_cells():
    assert choice.choose(clustered(), clustered()[:9]).kind == FLAT
    assert [choice.cells(rows) for rows in (50_000, 100_000, 657_940)] == [256, 512, 1_024]


def test_vectors_without_clusters_are_searched_exactly_if_no_index_pays(monkeypatch):
    monkeypatch.setattr(choice, "FLAT_ROWS", 100)
    matrix = np.random.default_rng(1).normal(size=(2_000, 64)).astype(np.float32)
    monkeypatch.setattr(choice, "_HNSW_TRIAL", 1_000)
    chosen = choice.choose(matrix, np.random.default_rng(2).normal(size=(50, 64)).astype(np.float32))
    assert (chosen.kind, chosen.fidelity) == (FLAT, 1.0)


# --- centroids of the parent


@pytest.mark.parametrize("kind", [IVF], indirect=True)
def test_the_parents_centroids_are_taken_over_while_they_fit(tmp_path, directory, kind, monkeypatch):
    child = clustered() + np.float32(0.01)
    made = writer.write(tmp_path / "snap-2", content(child), provenance("snap-2"), None, directory)
    taken = (tmp_path / "snap-2" / "items.centroids.npy").read_bytes()
    assert taken == (directory / "items.centroids.npy").read_bytes()
    assert made.parts["items"].fidelity >= 0.98
    for parent in (None, tmp_path / "gone"):
        writer.write(tmp_path / "snap-2", content(child), provenance("snap-2"), None, parent)
        assert (tmp_path / "snap-2" / "items.centroids.npy").read_bytes() != taken


@pytest.mark.parametrize("kind", [IVF], indirect=True)
@pytest.mark.parametrize("damage", ["shape", "nan", "empty", "object"])
def test_centroids_that_do_not_fit_are_trained_anew(tmp_path, directory, kind, damage):
    path = directory / "items.centroids.npy"
    good = np.load(path)
    if damage == "empty":
        path.write_bytes(b"")
    else:
        bad = {"shape": good[:-1], "nan": good * np.nan, "object": np.array([{}], dtype=object)}[damage]
        np.save(path, bad, allow_pickle=True)
    writer.write(tmp_path / "snap-2", content(clustered()), provenance("snap-2"), None, directory)
    np.testing.assert_array_equal(np.load(tmp_path / "snap-2" / "items.centroids.npy"), good)


@pytest.mark.parametrize("kind", [IVF], indirect=True)
def test_centroids_that_serve_badly_are_trained_anew(tmp_path, directory, kind, monkeypatch):
    monkeypatch.setattr(choice, "CHEAP", 0.9)
    path = directory / "items.centroids.npy"
    good = np.load(path)
    np.save(path, np.tile(good[:1], (len(good), 1)))
    writer.write(tmp_path / "snap-2", content(clustered()), provenance("snap-2"), None, directory)
    np.testing.assert_array_equal(np.load(tmp_path / "snap-2" / "items.centroids.npy"), good)


# --- searched


def test_what_is_found_is_what_exact_search_finds_without_the_hidden(unit):
    draw = np.random.default_rng(7)
    shares = []
    for seed in range(20):
        query = ask(unit, seed)
        exclude = draw.choice(ROWS, 40, replace=False).astype(np.int32)
        blocked = draw.random(ROWS) < 0.5 if seed % 2 else None
        hidden = np.union1d(exclude, np.flatnonzero(blocked) if seed % 2 else exclude)
        found = unit.items.search(query, 20, exclude, blocked=blocked)
        assert not np.isin(found.rows, hidden).any()
        assert len(set(found.rows.tolist())) == 20
        assert (np.diff(found.scores) <= 0).all()
        np.testing.assert_allclose(found.scores, unit.items.matrix[found.rows] @ query.vectors[0], rtol=1e-5)
        shares.append(share(found.rows, exact(unit, query.vectors[0], 20, hidden)))
    assert np.mean(shares) >= 0.95


@pytest.mark.parametrize("k", [1, 10, 1_000, ROWS, ROWS + 5])
def test_never_fewer_are_found_than_there_are(unit, k):
    query = ask(unit)
    exclude = np.arange(0, 50, dtype=np.int32)
    blocked = np.ones(ROWS, bool)
    blocked[::7] = False
    left = int((~blocked[50:]).sum())
    assert len(unit.items.search(query, k, NOTHING).rows) == min(k, ROWS)
    assert len(unit.items.search(query, k, exclude).rows) == min(k, ROWS - 50)
    assert len(unit.items.search(query, k, exclude, blocked=blocked).rows) == min(k, left)
    blocked = np.ones(ROWS, bool)
    blocked[[2, 77, 1_500, 2_900]] = False
    assert sorted(unit.items.search(query, k, exclude, blocked=blocked).rows.tolist()) == sorted(
        exact(unit, query.vectors[0], min(k, 3), np.flatnonzero(blocked | (np.arange(ROWS) < 50))).tolist()
    )
    assert len(unit.items.search(query, k, NOTHING, blocked=np.ones(ROWS, bool)).rows) == 0


def test_a_selection_is_scored_exactly(unit):
    draw = np.random.default_rng(8)
    for seed in range(10):
        query = ask(unit, seed)
        only = np.sort(draw.choice(ROWS, 300, replace=False)).astype(np.int32)
        exclude, blocked = only[::5], draw.random(ROWS) < 0.3
        hidden = np.setdiff1d(np.arange(ROWS), only[~np.isin(only, exclude) & ~blocked[only]])
        found = unit.items.search(query, 15, exclude, blocked=blocked, only=only)
        assert found.rows.tolist() == exact(unit, query.vectors[0], 15, hidden).tolist()
    assert len(unit.items.search(ask(unit), 5, NOTHING, only=NOTHING).rows) == 0


def test_alike_rows_are_found_by_cosine_under_the_same_rules(unit):
    matrix = unit.items.matrix
    cosines = matrix @ matrix[9] / np.linalg.norm(matrix, axis=1)
    order = [row for row in np.argsort(-cosines, kind="stable").tolist() if row != 9]
    blocked = np.zeros(ROWS, bool)
    blocked[order[1]] = True
    only = np.sort(np.array([9, *order[:40:2]], np.int32))
    exclude = np.array(order[:1], np.int32)
    assert unit.items.similar(9, 5, NOTHING).rows.tolist() == order[:5]
    assert unit.items.similar(9, 5, exclude, blocked=blocked).rows.tolist() == order[2:7]
    assert unit.items.similar(9, 3, exclude, only=only).rows.tolist() == [order[2], order[4], order[6]]


def test_names_go_in_and_out(unit):
    recent = [RecentInteraction("i3"), RecentInteraction("unknown"), RecentInteraction("i9")]
    found = unit.recommend(recent, 20, ["i3", "i9", "unknown", "i50"])
    assert len(found) == 20
    assert not {"i3", "i9", "i50"} & {name for name, _ in found}
    only = np.array([3, 4], np.int32)
    assert [name for name, _ in unit.recommend(recent, 5, ["i3"], only=only)] == ["i4"]
    assert [name for name, _ in unit.similar("i9", 5, ["i3"], only=only)] == ["i4"]
    assert unit.similar("nobody", 5) is None


def test_rows_of_equal_score_go_by_row(tmp_path, kind):
    matrix = np.repeat(clustered(30), 100, axis=0)
    writer.write(tmp_path / "ties", content(matrix), provenance("ties"))
    unit = Unit.open(tmp_path / "ties")
    found = unit.items.search(Query(vectors=matrix[:1]), 5, NOTHING)
    assert (np.diff(found.rows)[np.diff(found.scores) == 0] > 0).all()
    if kind == FLAT:
        best = int(np.argmax(matrix @ matrix[0]))
        assert found.rows.tolist() == [best, best + 1, best + 2, best + 3, best + 4]


# --- users


@pytest.mark.parametrize("shape", ["vectors", "neighbours"])
def test_alike_users_come_from_a_part_of_users(tmp_path, shape):
    items = content(clustered(20))
    names = ["ann", "bob", "cem"]
    matrix = np.array([[1, 0], [0.9, 0.2], [0, 1]], np.float32)
    rows = np.array([[1, 2], [0, 2], [1, -1]], np.int32)
    users = {
        "vectors": VectorsContent(identifiers=names, matrix=matrix, entity="users"),
        "neighbours": NeighboursContent(
            identifiers=names, rows=rows, similarities=np.ones((3, 2), np.float32), entity="users"
        ),
    }[shape]
    both = UnitContent(parts=items.parts | {"users": users}, encoder=items.encoder)
    writer.write(tmp_path / "snap-1", both, provenance("snap-1"))
    unit = Unit.open(tmp_path / "snap-1")
    assert [name for name, _ in unit.similar_users("ann", 2)] == ["bob", "cem"]
    assert [name for name, _ in unit.similar_users("ann", 2, ["bob"])] == ["cem"]
    assert unit.similar_users("nobody", 2) is None
    writer.write(tmp_path / "snap-2", items, provenance("snap-2"))
    assert Unit.open(tmp_path / "snap-2").similar_users("ann", 2) is None


# --- refused


def rewritten(directory, **changes):
    document = json.loads((directory / "manifest.json").read_text())
    document["parts"]["items"].update(changes)
    (directory / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize("kind", [IVF, HNSW], indirect=True)
def test_an_index_that_is_none_or_of_other_vectors_is_not_opened(tmp_path, directory, kind):
    writer.write(tmp_path / "other", content(clustered(2_000)), provenance("other"))
    good = (directory / "items.index").read_bytes()
    others = [(tmp_path / "other" / "items.index").read_bytes(), b"", b"garbage" * 9, good[: len(good) // 2]]
    for data in others:
        (directory / "items.index").write_bytes(data)
        with pytest.raises(SnapshotRefused, match=r"items\.index"):
            Unit.open(directory)
    assert len(Unit.open(directory, with_index=False).items.ids) == ROWS
    (directory / "items.index").unlink()
    with pytest.raises(SnapshotRefused, match=r"items\.index"):
        Unit.open(directory)


@pytest.mark.parametrize("kind", [IVF, HNSW], indirect=True)
def test_an_index_of_another_type_than_told_is_not_opened(directory, kind):
    rewritten(directory, index=HNSW if kind == IVF else IVF)
    with pytest.raises(SnapshotRefused, match=r"items\.index"):
        Unit.open(directory)
    rewritten(directory, index="Magic")
    with pytest.raises(SnapshotRefused, match="Magic"):
        Unit.open(directory)


@pytest.mark.parametrize("kind", [IVF, HNSW], indirect=True)
@pytest.mark.parametrize("effort", [0, -1, 10**9, None])
def test_an_effort_out_of_bounds_is_refused(directory, kind, effort):
    name = "nprobe" if kind == IVF else "efSearch"
    rewritten(directory, parameters={} if effort is None else {name: effort})
    with pytest.raises(SnapshotRefused, match=name):
        Unit.open(directory)


def test_a_manifest_of_before_there_was_a_choice_is_read(tmp_path):
    writer.write(tmp_path / "snap-1", content(clustered(200)), provenance("snap-1"))
    document = json.loads((tmp_path / "snap-1" / "manifest.json").read_text())
    del document["parts"]["items"]["parameters"], document["parts"]["items"]["fidelity"]
    (tmp_path / "snap-1" / "manifest.json").write_text(json.dumps(document))
    assert len(Unit.open(tmp_path / "snap-1").recommend([], 5, [])) == 5
