"""An upgrade that cannot start anything, and the way back."""

import pytest

from e2e.kubectl import Refused
from e2e.load import UnderLoad
from e2e.release import PATIENCE_S, Release, image_of, is_ready, name_of
from e2e.waiting import until

ABSENT = "0.0.0-absent"
BAD_UPGRADE_S = 45
REPLICATED = ("faiss", "api", "profiles")


def test_a_bad_upgrade_fails_harms_nobody_and_is_rolled_back(serving: Release, under_load: UnderLoad) -> None:
    revision, pods = given_a_deployed_release(serving)
    with under_load("bad upgrade") as load:
        when_it_is_upgraded_to_images_that_do_not_exist(serving)
        then_the_release_says_that_it_failed(serving)
        then_the_old_pods_serve_on(serving, pods)
        when_it_is_rolled_back(serving, revision)
        then_everything_is_ready_and_nothing_is_left_of_it(serving, pods)
    load.then_no_request_failed()
    load.then_recommendations_stayed_personal()
    load.then_every_accepted_event_counts_once()


def given_a_deployed_release(release: Release) -> tuple[int, set[str]]:
    revision = release.helm.revision
    assert release.helm.revisions[revision] == "deployed"
    return revision, ready(release)


def when_it_is_upgraded_to_images_that_do_not_exist(release: Release) -> None:
    absent = {"image": {"tag": ABSENT}}
    with pytest.raises(Refused, match="UPGRADE FAILED"):
        release.helm.upgrade(
            {"faiss": absent, "recommender": absent | {"prepare": {"enabled": False}}}, BAD_UPGRADE_S
        )


def then_the_release_says_that_it_failed(release: Release) -> None:
    assert release.helm.revisions[release.helm.revision] == "failed"


def then_the_old_pods_serve_on(release: Release, pods: set[str]) -> None:
    assert pods <= ready(release)
    assert any(ABSENT in image_of(pod) for component in REPLICATED for pod in release.pods(component))


def when_it_is_rolled_back(release: Release, revision: int) -> None:
    release.helm.rollback(revision)


def then_everything_is_ready_and_nothing_is_left_of_it(release: Release, pods: set[str]) -> None:
    def settled() -> bool:
        found = [pod for component in REPLICATED for pod in release.pods(component)]
        return all(map(is_ready, found)) and {name_of(pod) for pod in found} == pods

    until(settled, "only the pods from before the upgrade are there", PATIENCE_S)


def ready(release: Release) -> set[str]:
    """Return the names of the ready pods of what runs in several."""
    return {name_of(pod) for component in REPLICATED for pod in release.ready_pods(component)}
