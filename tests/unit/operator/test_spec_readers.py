"""Pods that mount a model's ConfigMap are touched, each for itself."""

import msgspec

from sluice_operator.kubernetes.api import NotFound
from sluice_operator.kubernetes.objects import PodObject
from sluice_operator.kubernetes.spec_readers import SpecReaders


class VanishingPods:
    """An API whose pods all mount one ConfigMap; the first is gone when it is to be touched."""

    def __init__(self, *names):
        self.names, self.touched = names, []

    def listed(self, path, kind, selector=""):
        volumes = [{"configMap": {"name": "home-spec"}}]
        pods = [{"metadata": {"name": name}, "spec": {"volumes": volumes}} for name in self.names]
        return msgspec.convert(pods, list[PodObject])

    def patch(self, path, body):
        if path.endswith(f"/{self.names[0]}"):
            raise NotFound("no such pod")
        self.touched.append((path.rpartition("/")[2], body["metadata"]["annotations"]))


def test_a_pod_that_is_gone_keeps_no_other_from_being_touched():
    api = VanishingPods("gone", "here", "there")
    SpecReaders(api, "shop").hurry("home-spec", "u.1")
    assert api.touched == [("here", {"sluice.dev/spec": "u.1"}), ("there", {"sluice.dev/spec": "u.1"})]
    SpecReaders(api, "shop").hurry("other-spec", "u.1")
    assert len(api.touched) == 2
