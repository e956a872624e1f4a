"""IndexSnapshots: what an entry of the catalog becomes, and what it is to the rollout."""

from unittest.mock import Mock

import msgspec
import pytest

from sluice.catalog import CatalogEntry
from sluice.index_snapshot import IndexSnapshotSpec, SnapshotPhase, spec_of
from sluice_operator.kubernetes.index_snapshots import IndexSnapshots, phase_of
from sluice_operator.kubernetes.objects import Metadata
from sluice_operator.rollout.state import Aborted, Phase, RolloutState

ENTRY = CatalogEntry(
    id="gmf-2",
    uri="s3://bucket/default.home/gmf-2",
    digest="ab" * 32,
    parent="gmf-1",
    algorithm="GMF",
    spec_hash="0123",
    epoch=3,
    created=1_700_000_000.5,
    interactions=9,
    bytes=100,
    metrics={"recall@20": 0.116, "samples": 1000.0, "mrr": float("nan"), "odd": float("inf"), "huge": 1e300},
)


def test_an_entry_becomes_a_spec_that_its_types_take_back():
    written = msgspec.json.decode(msgspec.json.encode(spec_of("home", ENTRY)))
    assert msgspec.convert(written, IndexSnapshotSpec) == spec_of("home", ENTRY)
    assert written["created"] == "2023-11-14T22:13:20+00:00"


def test_metrics_are_decimals_and_what_is_no_number_is_left_out():
    assert spec_of("home", ENTRY).metrics == {"recall@20": "0.116", "samples": "1000"}


def test_one_with_a_field_of_a_newer_definition_stays_and_one_of_another_digest_is_made_anew():
    spec = msgspec.to_builtins(spec_of("home", ENTRY))
    assert ways({"spec": spec | {"newer": "field"}}) == {"patch"}
    assert ways({"spec": spec | {"digest": "cd" * 32}}) == {"delete"}


def ways(found):
    """Return by which verbs an object that is there is changed."""
    metadata = {"name": "home.gmf-2", "uid": "s", "ownerReferences": [{"uid": "m"}]}
    api = Mock()
    api.listed.side_effect = lambda path, kind, selector: [
        msgspec.convert({"metadata": metadata} | found, kind)
    ]
    IndexSnapshots(api, "ns", lambda entry: True).keep(
        Metadata(name="home", uid="m"), [ENTRY], RolloutState()
    )
    return {call[0] for call in api.method_calls} - {"listed"}


@pytest.mark.parametrize(
    ("state", "released", "phase"),
    [
        (RolloutState(), False, SnapshotPhase.VERIFIED),
        (RolloutState(stable="gmf-2", promoted=("gmf-2",)), False, SnapshotPhase.STABLE),
        (RolloutState(phase=Phase.PROGRESSING, candidate="gmf-2"), False, SnapshotPhase.CANDIDATE),
        (RolloutState(stable="gmf-3", promoted=("gmf-3", "gmf-2")), False, SnapshotPhase.PROMOTED),
        (RolloutState(aborted=(Aborted(id="gmf-2", reason="no", at=0.0),)), False, SnapshotPhase.ABORTED),
        (RolloutState(stable="gmf-9"), True, SnapshotPhase.RELEASED),
    ],
)
def test_a_snapshot_is_told_as_what_it_is_to_the_rollout(state, released, phase):
    assert phase_of(msgspec.structs.replace(ENTRY, released=released), state) is phase
