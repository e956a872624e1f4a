"""A trainer evaluates the snapshots that the catalog knows, and no others of their names."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sluice.encoder import MeanEncoder
from sluice.errors import StorageUnavailable
from sluice.routing import Routing
from sluice.snapshot import writer
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.manifest import Manifest, digest_of
from sluice_trainer.contenders import Contenders

ROUTING = Routing(epoch=1, rollout="r", stable="s1", candidate=None, weight=0, renewed=0.0)


def write(directory: Path) -> Manifest:
    content = UnitContent(
        parts={"items": VectorsContent(identifiers=["a", "b"], matrix=np.eye(2, dtype=np.float32))},
        encoder=MeanEncoder(np.zeros(2, dtype=np.float32), decay=0.9),
    )
    provenance = {
        "id": directory.name, "model": "default.home", "parent": None, "algorithm": "GMF", "parameters": {},
        "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0, "offsets": {}, "interactions": 0,
        "metrics": {},
    }  # fmt: skip
    return writer.write(directory, content, provenance)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def catalog(**digests: str):
    return SimpleNamespace(
        get=lambda name: SimpleNamespace(digest=digests[name]) if name in digests else None
    )


def test_the_snapshot_that_was_entered_is_opened(store):
    made = store.publish("s1", write)
    assert Contenders(store, catalog(s1=digest_of(made))).of(ROUTING)[0].unit.manifest == made
    assert Contenders(store, catalog()).of(ROUTING)[0].unit.manifest == made, "one that was swept since"
    assert Contenders(store).of(ROUTING)[0].unit.manifest == made


def test_another_snapshot_of_that_name_is_refused(store):
    store.publish("s1", write)
    contenders = Contenders(store, catalog(s1="0" * 64))
    assert contenders.of(ROUTING) == (None, None)
    assert contenders.vetted(ROUTING).stable is None


def test_a_snapshot_of_a_store_that_is_not_mounted_is_waited_for(store):
    contenders = Contenders(store, catalog())
    with pytest.raises(StorageUnavailable, match="mount its volume"):
        contenders.of(ROUTING)
    store.publish("s1", write)
    assert contenders.of(ROUTING)[0] is not None
