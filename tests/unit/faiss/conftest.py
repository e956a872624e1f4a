import numpy as np
import pytest

from sluice.catalog import CatalogEntry
from sluice.encoder import MeanEncoder
from sluice.snapshot import manifest
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.writer import write


@pytest.fixture
def cut(tmp_path):
    """Write a snapshot of three items into the store and return its catalog entry."""

    def _cut(snapshot="s1"):
        directory = tmp_path / "store" / snapshot
        matrix = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
        content = UnitContent(
            parts={"items": VectorsContent(identifiers=["a", "b", "c"], matrix=matrix)},
            encoder=MeanEncoder(np.array([0, 1], dtype=np.float32), decay=0.9),
        )
        provenance = {
            "id": snapshot,
            "model": "default.home",
            "parent": None,
            "algorithm": "GMF",
            "parameters": {},
            "spec_hash": "x",
            "seed": 0,
            "code_version": "0",
            "created": 0.0,
            "offsets": {},
            "interactions": 0,
            "metrics": {},
        }
        made = write(directory, content, provenance)
        return CatalogEntry(
            id=snapshot,
            uri=f"file://{directory}",
            digest=manifest.digest(directory / manifest.MANIFEST),
            parent=None,
            algorithm="GMF",
            spec_hash="x",
            epoch=1,
            created=0.0,
            interactions=0,
            bytes=made.bytes,
            metrics={},
        )

    return _cut


@pytest.fixture
def flip():
    """Flip one bit in the middle of a file."""

    def _flip(path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return _flip
