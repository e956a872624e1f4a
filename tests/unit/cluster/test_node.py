"""The node's name server keeps names for a while as others do, and Faiss pods serve for longer than that."""

from pathlib import Path

import pytest
import yaml

from cluster import node
from e2e import release

COREDNS_TTL_S = 30
"""Its default, so that of most clusters."""
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("upstream", [True, False])
def test_names_of_the_cluster_are_cached(upstream: bool) -> None:
    config = node.name_server(Path("/state"), upstream)
    assert "ttl 5\n" in config
    assert "    cache 5\n" in config
    assert ("forward" in config) is upstream
    assert "disable" not in config


def test_a_faiss_pod_serves_longer_than_its_name_is_cached() -> None:
    values = yaml.safe_load((ROOT / "charts" / "faiss" / "values.yaml").read_text())
    assert values["drainSeconds"] > COREDNS_TTL_S
    assert release.DRAIN_S > node.DNS_TTL_S
