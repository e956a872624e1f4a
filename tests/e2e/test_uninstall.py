"""What is left when the release goes, and that it can come back. These tests are the last of a session."""

import pytest

from e2e import ground, journey
from e2e.ground import Ground
from e2e.release import MODEL, PATIENCE_S, Release, values
from e2e.shop import Shop
from e2e.waiting import until

GIVEN = {
    "configmap/kube-root-ca.crt",
    "serviceaccount/default",
    "secret/sluice-keys",
    "secret/sluice-mongo",
    "secret/sluice-redis",
}
"""What Kubernetes puts into every namespace, and what the platform team made before the release."""
KEPT = {
    f"recommendermodel.sluice.dev/{MODEL}",
    "persistentvolumeclaim/sluice-snapshots",
    f"persistentvolumeclaim/home-{MODEL}-trainer-0",
    f"configmap/{MODEL}-spec",
    f"configmap/{MODEL}-stable",
}
"""The model and what belongs to it and not to the release, beside its IndexSnapshots: snapshots and trainer's state."""
PASSING = ("events", "events.events.k8s.io", "leases.coordination.k8s.io")
"""What goes by itself after a while."""


def test_a_release_installed_anew_goes_on_with_what_was_kept(
    serving: Release, shop: Shop, place: Ground
) -> None:
    snapshot, learned = given_a_served_snapshot(serving)
    when_the_release_is_uninstalled(serving)
    when_it_is_installed_again(serving, place)
    then_the_same_snapshot_is_served(serving, shop, snapshot)
    then_nothing_is_learned_twice(serving, learned)


@pytest.mark.smoke
def test_an_uninstalled_release_leaves_what_its_keep_policies_name(serving: Release, shop: Shop) -> None:
    snapshots = given_a_model_with_snapshots(serving)
    when_the_release_is_uninstalled(serving)
    then_nothing_answers_by_that_host(shop)
    then_the_definitions_stay(serving)
    then_only_what_is_to_be_kept_is_left(serving, snapshots)


def given_a_model_with_snapshots(release: Release) -> set[str]:
    assert release.snapshots()
    return {f"indexsnapshot.sluice.dev/{each['metadata']['name']}" for each in release.snapshots().values()}


def given_a_served_snapshot(release: Release) -> tuple[str, int]:
    return journey.wait_until_served(release), journey.wait_until_learned(release)["interactions"]


def when_the_release_is_uninstalled(release: Release) -> None:
    release.helm.uninstall()
    until(lambda: not release.kubectl.items("pods"), "all pods are gone", PATIENCE_S)


def when_it_is_installed_again(release: Release, place: Ground) -> None:
    release.helm.install(values(place.backing, ground.HOST))


def then_nothing_answers_by_that_host(shop: Shop) -> None:
    until(
        lambda: shop.recommendations("user-1").status == 404,
        "the ingress controller knows no such host",
        PATIENCE_S,
    )


def then_the_definitions_stay(release: Release) -> None:
    for crd in ground.CRDS:
        assert release.kubectl.get("customresourcedefinition", crd), crd


def then_only_what_is_to_be_kept_is_left(release: Release, snapshots: set[str]) -> None:
    def too_much() -> set[str]:
        return left(release) - GIVEN - KEPT - snapshots

    until(lambda: not too_much(), "only what is to be kept is left", PATIENCE_S)
    assert left(release) >= KEPT | snapshots


def then_the_same_snapshot_is_served(release: Release, shop: Shop, snapshot: str) -> None:
    assert journey.wait_until_served(release) == snapshot
    assert journey.wait_until_answered(shop, "user-1", snapshot)["strategy"] == "personalized"


def then_nothing_is_learned_twice(release: Release, learned: int) -> None:
    assert journey.wait_until_learned(release, learned)["interactions"] == learned


def left(release: Release) -> set[str]:
    """Return everything in the namespace, as kind/name."""
    kinds = [kind for kind in release.kubectl.kinds() if kind not in PASSING]
    return set(release.kubectl("get", ",".join(kinds), "-o", "name").split())
