"""Each service upgraded beside the others of the version before, under constant load (case 30: N and N+1)."""

import pytest

from cluster import images
from e2e import journey
from e2e.load import UnderLoad
from e2e.release import COMPONENTS, PATIENCE_S, Release, image_of
from e2e.shop import Shop
from e2e.waiting import until

CHANGES = {
    "operator": {"operator": {"image": {"tag": images.NEXT}, "intervalSeconds": 2}},
    "trainer": {"trainer": {"image": {"tag": images.NEXT}, "checkpointSeconds": 4}},
    "faiss": {"faiss": {"image": {"tag": images.NEXT}, "threads": 3}},
    "recommender": {"recommender": {"image": {"tag": images.NEXT}, "api": {"threads": 3}}},
}


@pytest.mark.parametrize("service", CHANGES)
def test_a_service_is_upgraded_and_taken_back_without_a_failed_request_or_a_lost_event(
    serving: Release, shop: Shop, under_load: UnderLoad, service: str
) -> None:
    revision = given_a_release_of_one_version(serving)
    with under_load(f"upgrade of {service}") as load:
        when_one_service_is_upgraded(serving, service)
        then_it_alone_is_of_the_next_version(serving, service)
        then_a_new_snapshot_goes_all_the_way(serving)
        when_the_release_goes_back(serving, revision)
        then_all_are_of_one_version_again(serving)
    load.then_no_request_failed()
    load.then_recommendations_stayed_personal()
    load.then_every_accepted_event_counts_once()


def given_a_release_of_one_version(release: Release) -> int:
    then_all_are_of_one_version_again(release)
    return release.helm.revision


def when_one_service_is_upgraded(release: Release, service: str) -> None:
    release.helm.upgrade(CHANGES[service])


def when_the_release_goes_back(release: Release, revision: int) -> None:
    release.helm.rollback(revision)
    release.wait_until_settled()


def then_it_alone_is_of_the_next_version(release: Release, service: str) -> None:
    wanted = {each: {images.NEXT if each == service else images.VERSION} for each in COMPONENTS}
    until(lambda: versions(release) == wanted, f"{service} is of the next version, alone", PATIENCE_S)


def then_all_are_of_one_version_again(release: Release) -> None:
    assert versions(release) == {each: {images.VERSION} for each in COMPONENTS}


def then_a_new_snapshot_goes_all_the_way(release: Release) -> None:
    journey.wait_until_served(release, other_than=release.stable()[0])


def versions(release: Release) -> dict[str, set[str]]:
    """Return the tags of each service's ready pods."""
    return {
        service: {
            image_of(pod).rpartition(":")[2]
            for component in components
            for pod in release.ready_pods(component)
        }
        for service, components in COMPONENTS.items()
    }
