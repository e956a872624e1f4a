"""The operator against a real API server, pass by pass: what it writes, and what it must not."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.operating import CRD_PATH, CRDS, FALLING, World, api_of, install_crds, world_in
from sluice import models
from sluice.errors import Conflict, StaleEpoch, StorageUnavailable
from sluice_operator.kubernetes.api import Api, Unreachable
from sluice_operator.kubernetes.fleet import KubernetesFleet
from sluice_operator.kubernetes.model import Gone
from sluice_operator.kubernetes.notes import KubernetesNotes
from sluice_operator.rollout.actions import GroupName
from sluice_operator.rollout.state import Note, NoteType


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    from cluster.control_plane import control_plane

    with control_plane() as kubeconfig:
        made = api_of(kubeconfig)
        install_crds(made)
        yield made


@pytest.fixture
def world(api: Api, tmp_path: Path) -> Iterator[World]:
    """A namespace with a model, both Deployments and two stable pods."""
    with world_in(api, f"n-{uuid.uuid4().hex[:10]}", tmp_path) as made:
        made.apply()
        made.deployments()
        made.api.patch(made.apps("deployments/home-faiss/scale"), {"spec": {"replicas": 2}})
        for number in range(2):
            made.pod(f"home-faiss-{number}")
        yield made


def test_the_api_server_takes_both_definitions(api: Api) -> None:
    for file in CRDS:
        found = api.get(f"{CRD_PATH}/{file.stem}", dict)
        assert found is not None
        told = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert told.get("NonStructuralSchema", "False") == "False"


def test_the_newest_snapshot_reaches_pods_and_routing(world: World) -> None:
    world.cut("gmf-1")
    world.serves(world.operator(), "gmf-1")

    assert [pod.wanted for pod in world.pods] == [["gmf-1"], ["gmf-1"]]
    routing = world.routing.read()
    assert routing is not None
    assert (routing.stable, routing.candidate) == ("gmf-1", None)
    rollout = world.rollout()
    assert (rollout["phase"], rollout["stable"], rollout["epoch"]) == ("Stable", "gmf-1", routing.epoch)
    assert {pod.annotations["sluice.dev/epoch"] for pod in world.pods} == {str(routing.epoch)}
    assert world.config_map("home-stable") == {"snapshots": '["gmf-1"]', "epoch": str(routing.epoch)}
    assert (world.condition("Ready")["status"], world.condition("Ready")["reason"]) == ("True", "Serving")
    assert world.status()["observedGeneration"] == world.condition("Progressing")["observedGeneration"] == 1


def test_pods_load_a_newer_snapshot_before_it_is_stable_and_keep_the_one_before(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    before = world.serves(operator, "gmf-1")
    for pod in world.pods:
        pod.slow = True
    world.cut("gmf-2")

    state = world.passes(operator, lambda state: state.phase == "Promoting")
    assert state.stable == "gmf-1"
    assert all(pod.wanted == ["gmf-1", "gmf-2"] for pod in world.pods)
    assert world.config_map("home-stable")["snapshots"] == '["gmf-1"]'
    for pod in world.pods:
        pod.slow = False
    after = world.serves(operator, "gmf-2")
    operator.reconcile(0.0)
    assert all(pod.wanted == ["gmf-2", "gmf-1"] for pod in world.pods)
    assert after.epoch > before.epoch


def test_a_pass_over_a_settled_model_only_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, call = world.operator(), world.api._call
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    for _ in range(2):
        world.passes(operator, lambda state: True)
    methods: list[str] = []

    def counted(method: str, *rest: Any, **more: Any) -> bytes:
        methods.append(method)
        return call(method, *rest, **more)

    monkeypatch.setattr(world.api, "_call", counted)
    for _ in range(3):
        world.passes(operator, lambda state: True)
    assert set(methods) == {"GET"}


def test_services_read_the_spec_from_a_config_map(world: World, tmp_path: Path) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    file = tmp_path / "model.yaml"
    file.write_text(world.config_map("home-spec")["model.yaml"])
    assert models.load(file).key == world.key

    world.apply(snapshots={"events": 77})
    operator.reconcile(2.0)
    file.write_text(world.config_map("home-spec")["model.yaml"])
    assert models.load(file).spec.snapshots.events == 77


def test_pods_that_mount_the_spec_are_shown_each_new_one(world: World) -> None:
    for name, config_map in (("home-trainer-0", "home-spec"), ("other", "other-spec")):
        volume = {"name": "model", "configMap": {"name": config_map, "optional": True}}
        spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [volume]}
        world.create("pods", {"metadata": {"name": name}, "spec": spec})

    def shown(name: str) -> str | None:
        return world.object(f"pods/{name}")["metadata"].get("annotations", {}).get("sluice.dev/spec")

    operator = world.operator()
    operator.reconcile(1.0)
    first = shown("home-trainer-0")
    assert first is not None
    world.apply(snapshots={"events": 77})
    operator.reconcile(2.0)
    assert shown("home-trainer-0") not in (None, first)
    assert shown("other") is None


def test_a_pod_whose_annotation_kubelet_missed_is_touched_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.pods[0].blind = True
    world.cut("gmf-1")
    operator = world.operator()
    monkeypatch.setattr(operator._fleet._reminders, "_patience_s", 3_600.0)
    with pytest.raises(AssertionError):
        world.serves(operator, "gmf-1")
    assert "sluice.dev/reminded" not in world.pods[0].annotations, "not before it had its time"
    monkeypatch.setattr(operator._fleet._reminders, "_patience_s", 0.0)
    world.serves(operator, "gmf-1")
    assert world.pods[0].annotations["sluice.dev/reminded"] == "1"
    assert "sluice.dev/reminded" not in world.pods[1].annotations


def test_pods_that_follow_the_items_of_another_source_are_told_of(world: World) -> None:
    world.cut("gmf-1")
    operator = world.operator()
    world.pods[0].source = "elsewhere"
    world.serves(operator, "gmf-1")
    world.passes(operator, lambda state: True)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "OtherSource")
    assert "source elsewhere, the model's source is shop" in ready["message"]
    world.pods[0].source = "shop"
    world.passes(operator, lambda state: True)
    assert world.condition("Ready")["status"] == "True"


def test_a_spec_that_was_read_earlier_does_not_replace_a_later_one(world: World) -> None:
    stale = world.operator()
    read = stale._model.fetch

    def overtaken(served: object) -> None:
        read(served)
        world.apply(snapshots={"events": 77})
        world.operator().reconcile(1.0)

    stale._model.fetch = overtaken
    with pytest.raises(Conflict):
        stale.reconcile(1.0)
    assert "77" in world.config_map("home-spec")["model.yaml"]


def test_a_spec_of_a_model_that_was_applied_anew_is_handed_over(world: World) -> None:
    world.apply(snapshots={"events": 77})
    operator = world.operator()
    operator.reconcile(1.0)
    world.delete_model()
    world.apply(snapshots={"events": 78})
    operator.reconcile(2.0)
    assert "78" in world.config_map("home-spec")["model.yaml"]


@pytest.mark.parametrize("name", ["home-spec", "home-stable"])
def test_a_config_map_of_somebody_else_is_left_alone_and_told(world: World, name: str) -> None:
    world.create("configmaps", {"metadata": {"name": name}, "data": {"mine": "yes"}})
    world.cut("gmf-1")
    operator = world.operator()
    world.serves(operator, "gmf-1")
    world.passes(operator, lambda state: True)
    assert world.config_map(name) == {"mine": "yes"}
    ready = world.condition("Ready")
    assert (ready["status"], f"ConfigMap {name}" in ready["message"]) == ("False", True)


def test_what_somebody_wrote_into_the_config_maps_is_put_right(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    kept = {name: world.config_map(name) for name in ("home-spec", "home-stable")}
    for name in kept:
        world.api.patch(
            world.core(f"configmaps/{name}"), {"data": {"model.yaml": "x", "snapshots": "[", "epoch": "y"}}
        )

    operator.reconcile(0.0)
    assert {name: world.config_map(name) for name in kept} == kept


def test_a_corrupt_snapshot_is_never_wanted(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    matrix = world.cut("gmf-2") / "items.matrix.npy"
    matrix.write_bytes(matrix.read_bytes()[:-1] + b"\xff")

    for _ in range(10):
        state = world.passes(operator, lambda state: True)
        assert state.stable == "gmf-1"
        assert all("gmf-2" not in pod.wanted for pod in world.pods)
    assert set(world.index_snapshots()) == {"home.gmf-1"}


def test_an_invalid_spec_is_told_and_the_last_good_one_stays_in_force(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    kept = world.config_map("home-spec")
    world.apply(**FALLING)
    world.cut("gmf-2")

    world.serves(operator, "gmf-2")
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"], ready["observedGeneration"]) == ("False", "InvalidSpec", 2)
    assert "spec.rollout.steps[1].setWeight falls from 50 to 5" in ready["message"]
    assert world.config_map("home-spec") == kept

    world.cut("gmf-3")
    world.serves(world.operator(), "gmf-3")  # one that was just started knows the last good one too
    world.apply()
    operator.reconcile(0.0)
    assert world.condition("Ready")["status"] == "True"


def test_a_spec_that_never_was_valid_rolls_nothing(world: World) -> None:
    world.apply(**FALLING)
    world.cut("gmf-1")
    operator = world.operator()
    for now in (1.0, 2.0, 3.0):
        assert operator.reconcile(now).stable is None
    assert world.condition("Ready")["reason"] == "InvalidSpec"
    assert world.config_map("home-spec") == {}
    assert all(pod.wanted == [] for pod in world.pods)


def test_one_that_was_just_started_goes_on_where_another_stopped(world: World) -> None:
    world.cut("gmf-1")
    for pod in world.pods:
        pod.slow = True
    began = world.passes(world.operator(), lambda state: state.phase == "Promoting")
    for pod in world.pods:
        pod.slow = False

    ended = world.serves(world.operator(), "gmf-1")
    assert ended.epoch == began.epoch + 1
    assert [note.reason for note in ended.notes].count("RolloutStarted") == 1


def test_of_two_operators_that_read_the_same_one_decides(world: World) -> None:
    world.cut("gmf-1")
    one, other = world.operator(), world.operator()
    read = one._model.fetch

    def overtaken(served: object) -> None:
        read(served)
        other.reconcile(1.0)

    one._model.fetch = overtaken
    with pytest.raises(Conflict):
        one.reconcile(1.0)
    assert world.rollout()["epoch"] == 1


def test_two_operators_at_once_do_no_harm(world: World) -> None:
    for name in ("gmf-1", "gmf-2"):
        world.cut(name)
    seen: list[BaseException] = []

    def work() -> None:
        operator = world.operator()
        for number in range(25):
            try:
                operator.reconcile(world._now + 10.0 * number)
            except (Conflict, StaleEpoch):
                pass
            except BaseException as error:
                seen.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == []
    routing, rollout = world.routing.read(), world.rollout()
    assert routing is not None
    assert (routing.stable, routing.epoch) == (rollout["stable"], rollout["epoch"])
    assert all(pod.wanted[0] == "gmf-2" for pod in world.pods)
    reasons = [(each["reason"], each["metadata"]["name"]) for each in world.events()]
    assert len(reasons) == len(set(reasons)) == len({name for _, name in reasons})


def test_an_older_decision_changes_no_pod_and_no_config_map(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    state = world.serves(operator, "gmf-1")
    fleet: KubernetesFleet = operator._fleet
    fleet.observe()

    with pytest.raises(StaleEpoch):
        fleet.want(GroupName.STABLE, ("gmf-0",), state.epoch - 1)
    assert all(pod.wanted == ["gmf-1"] for pod in world.pods)
    assert world.config_map("home-stable")["snapshots"] == '["gmf-1"]'


def test_a_pod_that_was_told_meanwhile_is_not_told_something_older(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    fleet: KubernetesFleet = operator._fleet
    fleet.observe()
    newer = {"sluice.dev/snapshots": '["gmf-9"]', "sluice.dev/epoch": "99"}
    world.api.patch(world.core("pods/home-faiss-0"), {"metadata": {"annotations": newer}})

    with pytest.raises(StaleEpoch):
        fleet.want(GroupName.STABLE, ("gmf-5",), 98)
    assert world.pods[0].wanted == ["gmf-9"]


def test_a_config_map_that_was_written_meanwhile_is_left_as_it_is(world: World) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    kept = operator._fleet._config_maps
    present = kept.read("home-stable")
    newer = {"snapshots": '["gmf-9"]', "epoch": "99"}
    world.api.patch(world.core("configmaps/home-stable"), {"data": newer})

    with pytest.raises(Conflict):
        kept.write("home-stable", {"snapshots": '["gmf-5"]', "epoch": "98"}, present)
    assert world.config_map("home-stable") == newer


def test_a_pod_that_changed_otherwise_meanwhile_is_told_all_the_same(world: World) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    fleet: KubernetesFleet = operator._fleet
    fleet.observe()
    world.api.patch(world.core("pods/home-faiss-0"), {"metadata": {"labels": {"other": "changed"}}})

    fleet.want(GroupName.STABLE, ("gmf-1",), 5)
    assert all(pod.wanted == ["gmf-1"] for pod in world.pods)


def test_a_status_that_somebody_else_wrote_meanwhile_throws_the_pass_away(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    observe = operator._fleet.observe

    def meddled() -> object:
        world.set_status({"note": "mine"})
        return observe()

    operator._fleet.observe = meddled
    with pytest.raises(Conflict):
        operator.reconcile(1.0)
    assert all(pod.wanted == [] for pod in world.pods)
    operator._fleet.observe = observe
    world.serves(operator, "gmf-1")
    assert world.status()["note"] == "mine"


@pytest.mark.parametrize("status", [{}, {"rollout": {"phase": "Sideways"}}, {"rollout": [1]}])
def test_a_lost_status_is_begun_from_what_serves(world: World, status: dict) -> None:
    operator = world.operator()
    for name in ("gmf-1", "gmf-2"):
        world.cut(name)
        before = world.serves(operator, name)
    world.set_status(status)

    after = world.passes(world.operator(), lambda state: True)
    assert (after.stable, after.phase) == ("gmf-2", "Stable")
    assert after.epoch >= before.epoch
    assert world.rollout()["stable"] == "gmf-2"
    assert all(pod.wanted[0] == "gmf-2" for pod in world.pods)
    world.cut("gmf-3")
    world.serves(operator, "gmf-3")


def test_the_routing_alone_says_what_serves_too(world: World) -> None:
    operator = world.operator()
    for name in ("gmf-1", "gmf-2"):
        world.cut(name)
        before = world.serves(operator, name)
    kept = world.object("configmaps/home-stable")
    world.api.delete(world.core("configmaps/home-stable"), kept["metadata"]["uid"])
    world.set_status({})

    after = world.passes(world.operator(), lambda state: True)
    assert (after.stable, after.phase) == ("gmf-2", "Stable")
    assert after.epoch >= before.epoch
    assert world.config_map("home-stable")["snapshots"] == '["gmf-2"]'


def test_a_status_of_before_is_no_reason_to_stop_or_to_go_back(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    earlier = world.status()
    world.cut("gmf-2")
    world.serves(operator, "gmf-2")
    world.set_status(earlier)

    for _ in range(3):
        after = world.passes(operator, lambda state: True)
        assert (after.stable, world.pods[0].wanted[0]) == ("gmf-2", "gmf-2")
    world.cut("gmf-3")
    world.serves(operator, "gmf-3")
    assert all(pod.wanted[0] == "gmf-3" for pod in world.pods)


def test_an_epoch_that_somebody_raised_by_hand_is_gone_on_from(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    raised = {"metadata": {"annotations": {"sluice.dev/epoch": "500"}}}
    world.api.patch(world.core("pods/home-faiss-0"), raised)
    world.cut("gmf-2")

    with pytest.raises(StaleEpoch):
        operator.reconcile(0.0)
    assert world.serves(operator, "gmf-2").epoch > 500
    assert all(pod.wanted[0] == "gmf-2" for pod in world.pods)


def test_without_the_routing_store_pods_are_still_told(world: World) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("Redis is away")

    operator = world.operator()
    operator._routing.publish = operator._routing.read = away
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    assert all(pod.wanted == ["gmf-1"] for pod in world.pods)


def test_while_a_store_is_away_the_conditions_say_so(world: World) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("MongoDB is away")

    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    entries = operator._catalog.entries
    operator._catalog.entries = away
    with pytest.raises(StorageUnavailable):
        operator.reconcile(world._now)
    progress = world.condition("Progressing")
    assert (progress["status"], progress["reason"]) == ("Unknown", "StorageUnavailable")
    assert "MongoDB is away" in progress["message"]
    assert world.rollout()["stable"] == "gmf-1"

    operator._catalog.entries, purge = entries, operator._controller._evidence.purge
    operator._controller._evidence.purge = away  # after the decision was written
    world.cut("gmf-2")
    with pytest.raises(StorageUnavailable):
        world.passes(operator, lambda state: False)
    assert (world.rollout()["phase"], world.rollout()["candidate"]) == ("Promoting", "gmf-2")
    operator._controller._evidence.purge = purge
    world.serves(operator, "gmf-2")
    assert world.condition("Progressing")["reason"] == "Stable"


def test_an_api_server_that_does_not_answer_is_not_asked_for_each_pod(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    fleet: KubernetesFleet = operator._fleet
    fleet.observe()
    asked: list[str] = []

    def away(path: str, body: dict[str, Any]) -> None:
        asked.append(path)
        raise Unreachable("the API server cannot be reached")

    monkeypatch.setattr(world.api, "patch", away)
    with pytest.raises(StorageUnavailable):
        fleet.want(GroupName.STABLE, ("gmf-1",), 5)
    assert len(asked) == 1


def test_a_deleted_model_leaves_what_serves(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    stable, routing = world.config_map("home-stable"), world.routing.read()
    world.delete_model()

    with pytest.raises(Gone):
        operator.reconcile(0.0)
    assert world.config_map("home-stable") == stable
    assert world.config_map("home-spec")
    assert all(pod.wanted == ["gmf-1"] for pod in world.pods)
    assert world.routing.read() == routing


def test_a_model_that_is_applied_anew_takes_over_what_serves(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    before = world.serves(operator, "gmf-1")
    world.delete_model()
    world.apply()

    after = world.serves(operator, "gmf-1")
    assert after.epoch >= before.epoch
    uid = world.recommender_model()["metadata"]["uid"]
    for _ in range(3):  # one pass deletes the old object, one makes the new one
        world.passes(operator, lambda state: True)
    owners = world.index_snapshots()["home.gmf-1"]["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [uid]
    world.cut("gmf-2")
    world.serves(operator, "gmf-2")
    told = [each["reason"] for each in world.events() if each["involvedObject"]["uid"] == uid]
    assert {"RolloutStarted", "Promoted"} <= set(told)


def test_a_new_pod_is_told_and_one_that_ends_is_not_counted(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    new = world.pod("home-faiss-new")
    evicted = world.pod("home-faiss-evicted")
    evicted.is_running(ready=False, phase="Failed")

    operator.reconcile(0.0)
    assert new.wanted == ["gmf-1"]
    assert evicted.wanted == []
    assert {pod.name for pod in operator._fleet.observe().stable.pods} == {
        "home-faiss-0",
        "home-faiss-1",
        new.name,
    }


def test_a_snapshot_is_stable_only_once_kubernetes_sends_requests_to_every_pod(world: World) -> None:
    operator = world.operator()
    world.pods[1].is_running(ready=False)
    world.cut("gmf-1")
    for _ in range(5):
        assert world.passes(operator, lambda state: True).stable is None
    world.pods[1].is_running()
    world.serves(operator, "gmf-1")


def test_a_canary_with_nothing_to_serve_is_scaled_to_none(world: World) -> None:
    assert world.replicas("home-faiss-canary") == 1  # what the API server makes of no number
    world.operator().reconcile(1.0)
    assert world.replicas("home-faiss-canary") == 0
    assert world.replicas("home-faiss") == 2


def test_a_canary_that_was_scaled_meanwhile_is_left_to_the_next_pass(world: World) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    fleet: KubernetesFleet = operator._fleet
    fleet.observe()
    world.api.patch(world.apps("deployments/home-faiss-canary/scale"), {"spec": {"replicas": 3}})

    fleet.scale_canary(2, 1)
    assert world.replicas("home-faiss-canary") == 3
    fleet.observe()
    fleet.scale_canary(2, 1)
    assert world.replicas("home-faiss-canary") == 2


def test_deployments_that_are_not_there_yet_are_waited_for(api: Api, tmp_path: Path) -> None:
    with world_in(api, f"n-{uuid.uuid4().hex[:10]}", tmp_path) as world:
        world.apply(serving={"stableRef": {"name": "elsewhere"}})
        world.cut("gmf-1")
        assert world.operator().reconcile(1.0).stable is None
        assert world.condition("Ready")["reason"] == "NoSnapshot"


def test_it_is_the_same_over_mongodb_and_redis(
    api: Api, tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    name = f"n-{uuid.uuid4().hex[:10]}"
    stores = {"mongo_url": mongo_url, "redis_url": redis_url, "mongo_database": f"sluice-{name}"}
    with world_in(api, name, tmp_path, **stores, store=(tmp_path / "store").as_uri()) as world:
        world.apply()
        world.deployments()
        pod = world.pod("home-faiss-0")
        for snapshot in ("gmf-1", "gmf-2"):
            world.cut(snapshot)
            world.serves(world.operator(), snapshot)
        routing = world.routing.read()
        assert routing is not None
        assert (pod.wanted, routing.stable) == (["gmf-2", "gmf-1"], "gmf-2")


def test_index_snapshots_follow_the_catalog(world: World) -> None:
    operator = world.operator()
    for name in ("gmf-1", "gmf-2"):
        world.cut(name)
        world.serves(operator, name)
    world.passes(operator, lambda state: True)
    found, entry = world.index_snapshots(), world.catalog.get("gmf-2")
    assert entry is not None
    assert {name: each["status"]["phase"] for name, each in found.items()} == {
        "home.gmf-1": "Promoted",
        "home.gmf-2": "Stable",
    }
    spec = found["home.gmf-2"]["spec"]
    assert (spec["uri"], spec["digest"], spec["algorithm"]) == (entry.uri, entry.digest, "GMF")
    assert spec["metrics"] == {"indexRecall": "1"}
    assert found["home.gmf-2"]["status"]["shortDigest"] == entry.digest[:12]

    world.passes(operator, lambda state: True)
    assert world.index_snapshots() == found  # nothing is made or written again
    world.catalog.release({"gmf-1"}, epoch=world.rollout()["epoch"])
    world.catalog.remove("gmf-1")
    world.passes(operator, lambda state: True)
    assert set(world.index_snapshots()) == {"home.gmf-2"}


def test_an_index_snapshot_never_changes(world: World) -> None:
    operator = world.operator()
    world.cut("gmf-1")
    world.serves(operator, "gmf-1")
    for _ in range(2):
        world.passes(operator, lambda state: True)
    with pytest.raises(StorageUnavailable, match="never changes"):
        world.api.patch(world.ours("indexsnapshots/home.gmf-1"), {"spec": {"uri": "file:///elsewhere"}})


def test_a_decision_is_one_event_whoever_tells_it(world: World) -> None:
    world.cut("gmf-1")
    world.serves(world.operator(), "gmf-1")
    told = sorted(each["metadata"]["name"] for each in world.events())
    assert [each["reason"] for each in world.events()].count("RolloutStarted") == 1

    world.passes(world.operator(), lambda state: True)
    assert sorted(each["metadata"]["name"] for each in world.events()) == told


def test_a_note_is_recorded_once_and_an_hour_later_no_more(world: World) -> None:
    operator = world.operator()
    operator.reconcile(1.0)
    notes = KubernetesNotes(
        world.api, world.namespace, lambda: operator._model.metadata, clock=lambda: 5_000.0
    )
    note = Note(type=NoteType.WARNING, reason="Odd", message="ü" * 1_000, number=7, epoch=1, at=4_000.0)

    assert notes.record(note)
    assert not notes.record(note)
    assert not notes.record(msgspec.structs.replace(note, number=8, at=1_000.0))
    (told,) = [each for each in world.events() if each["reason"] == "Odd"]
    assert (told["type"], told["involvedObject"]["name"]) == ("Warning", "home")
    assert len(told["message"].encode()) <= 1_024


def test_an_annotation_steers_once(world: World) -> None:
    operator = world.operator()
    for name in ("gmf-1", "gmf-2"):
        world.cut(name)
        world.serves(operator, name)
    world.annotate(command='{"id": "one", "verb": "rollback"}')

    state = world.passes(operator, lambda state: state.phase == "Held")
    assert state.stable == "gmf-1"
    world.annotate(command='{"id": "two", "verb": "resume"}')
    world.passes(operator, lambda state: state.phase == "Stable")
    world.annotate(command="{not json")
    assert operator.reconcile(0.0).stable == "gmf-1"
