"""From an empty namespace to recommendations by host name, as the tutorial does it."""

import json
import time

import pytest

from e2e import journey
from e2e.release import MODEL, PATIENCE_S, Release
from e2e.shop import Shop
from e2e.waiting import until

pytestmark = pytest.mark.smoke


def test_the_umbrella_is_ready_before_any_model_exists(installed: Release, shop: Shop) -> None:
    given_no_model(installed)
    then_every_pod_is_ready(installed)
    then_the_api_says_what_is_missing(shop)
    then_the_chart_s_own_tests_pass(installed)


def test_what_is_posted_through_the_ingress_comes_back_as_recommendations(
    installed: Release, shop: Shop, figures: dict[str, object]
) -> None:
    began = time.monotonic()
    given_a_model_applied_with_kubectl(installed)
    figures["model_to_api_s"] = round(time.monotonic() - began, 1)
    when_items_and_interactions_are_posted(shop)
    snapshot = then_a_snapshot_is_cut_and_served_by_the_stable_pods(installed)
    then_the_operator_has_written_what_it_decided(installed, snapshot)
    then_canary_pods_are_none(installed)
    then_recommendations_are_personal_and_of_that_snapshot(shop, snapshot)
    then_a_click_of_a_new_user_counts_at_once(shop, snapshot)
    then_everything_posted_was_learned_once(installed)


def test_helm_test_passes_while_a_model_is_served(serving: Release) -> None:
    then_the_chart_s_own_tests_pass(serving)


def given_no_model(release: Release) -> None:
    assert release.kubectl.items("recommendermodels") == []
    assert release.stable() == []


def given_a_model_applied_with_kubectl(release: Release) -> None:
    journey.apply_model(release)
    assert release.kubectl.data(f"{MODEL}-spec")


def when_items_and_interactions_are_posted(shop: Shop) -> None:
    journey.post_all(shop)


def then_every_pod_is_ready(release: Release) -> None:
    for component in ("operator", "trainer", "faiss", "api", "profiles"):
        assert release.ready_pods(component), component
    release.wait_until_settled()  # the autoscalers add theirs


def then_the_api_says_what_is_missing(shop: Shop) -> None:
    said = until(
        lambda: (answer := shop.recommendations("user-1")).status == 503 and answer, "503", PATIENCE_S
    )
    assert said.body["type"] == "urn:sluice:no-model"


def then_the_chart_s_own_tests_pass(release: Release) -> None:
    said = release.helm.test()
    assert "Phase:          Succeeded" in said
    assert "Failed" not in said


def then_a_snapshot_is_cut_and_served_by_the_stable_pods(release: Release) -> str:
    return journey.wait_until_served(release)


def then_the_operator_has_written_what_it_decided(release: Release, snapshot: str) -> None:
    found = until(lambda: release.snapshots().get(snapshot), f"IndexSnapshot {snapshot}", PATIENCE_S)
    assert found["metadata"]["name"] == f"{MODEL}.{snapshot}"
    assert found["spec"]["model"] == MODEL
    assert found["spec"]["digest"] in {each["digest"] for each in release.loaded()}
    assert found["spec"]["uri"].endswith(f"/{release.key}/{snapshot}")
    owner = found["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("RecommenderModel", MODEL)
    until(
        lambda: release.snapshots()[snapshot].get("status", {}).get("phase") == "Stable",
        "it is stable",
        PATIENCE_S,
    )
    model = release.kubectl.get("recommendermodel", MODEL)
    assert model is not None
    assert model["status"]["rollout"]["stable"] == snapshot, model["status"]
    assert int(release.kubectl.data(f"{MODEL}-stable")["epoch"]) >= 1


def then_canary_pods_are_none(release: Release) -> None:
    until(lambda: not release.pods("faiss", "canary"), "the operator keeps no canary pods", PATIENCE_S)


def then_recommendations_are_personal_and_of_that_snapshot(shop: Shop, snapshot: str) -> None:
    answer = journey.wait_until_answered(shop, "user-1", snapshot)
    assert answer["strategy"] == "personalized"
    assert answer["track"] == "stable"
    assert len(answer["items"]) == 5
    assert answer["items"][0]["metadata"]["title"].startswith("Item-"), json.dumps(answer)


def then_a_click_of_a_new_user_counts_at_once(shop: Shop, snapshot: str) -> None:
    assert shop.recommendations("newcomer", n=5).body["strategy"].startswith("popular")
    event = {"user_id": "newcomer", "item_id": "item-3", "event_id": "newcomer-0"}
    assert shop.post_interactions([event]).status == 202
    until(
        lambda: shop.recommendations("newcomer", n=5).body["strategy"] == "personalized",
        "a newcomer's first click makes the answer personal",
        PATIENCE_S,
    )


def then_everything_posted_was_learned_once(release: Release) -> None:
    posted = journey.INTERACTIONS + 1  # the newcomer's
    status = journey.wait_until_learned(release, posted)
    assert (status["interactions"], status["duplicates"], status["rejected"]) == (posted, 0, 0)
