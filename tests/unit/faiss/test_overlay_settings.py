"""Whose items and users a pod follows, and of how many it keeps track."""

import pytest

from sluice import settings
from sluice.entities import CAPACITY
from sluice.errors import InvalidSetting
from sluice_faiss.live import Live
from sluice_faiss.settings import FaissSettings

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec:
  algorithm: {type: GMF}
  source: {name: bookshop}
"""


def test_the_source_is_the_models_unless_it_is_named(tmp_path):
    (tmp_path / "model.yaml").write_text(MODEL)
    file = str(tmp_path / "model.yaml")
    assert FaissSettings(model_file=file).source_name == "bookshop"
    assert FaissSettings(model_file=file, source="shop").source_name == "shop"
    assert FaissSettings(source="shop").source_name == "shop"
    with pytest.raises(InvalidSetting, match="SLUICE_SOURCE"):
        _ = FaissSettings().source_name


def test_the_overlay_is_bounded_as_set():
    assert settings.read(FaissSettings, {}).overlay_items == CAPACITY == 1_000_000
    assert settings.read(FaissSettings, {"SLUICE_OVERLAY_ITEMS": "5"}).overlay_items == 5
    with pytest.raises(InvalidSetting, match="SLUICE_OVERLAY_ITEMS"):
        settings.read(FaissSettings, {"SLUICE_OVERLAY_ITEMS": "0"})
    live = Live(capacity=5)
    assert live.overlay._capacity == live.forgotten._capacity == 5
