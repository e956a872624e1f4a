"""Pods that are deleted, evicted and out of memory, each under load."""

import pytest

from e2e.kubectl import Refused
from e2e.load import UnderLoad
from e2e.release import PATIENCE_S, Release, is_ready, name_of, uid_of
from e2e.waiting import until

REPLICATED = ("api", "faiss")
ALL = ("api", "faiss", "profiles", "trainer", "operator")
KILLED = ("api", "faiss", "profiles", "trainer")

HOG = """
import os
with open("/proc/1/oom_score_adj", "w") as score:
    score.write("1000")
file = os.memfd_create("hog")
while True:
    os.write(file, bytes(1 << 20))
"""
"""Fills the container's memory with a file that no process maps: so the kernel takes the container's own process."""


@pytest.mark.parametrize("component", ALL)
def test_a_deleted_pod_is_replaced_and_nobody_notices(
    serving: Release, under_load: UnderLoad, component: str
) -> None:
    pods = given_ready_pods(serving, component)
    with under_load(f"{component} deleted") as load:
        uid = when_a_pod_is_deleted(serving, pods[0])
        then_another_is_ready_in_its_place(serving, component, uid, len(pods))
    load.then_no_request_failed()
    load.then_recommendations_stayed_personal()
    load.then_every_accepted_event_counts_once()


@pytest.mark.parametrize("component", REPLICATED)
def test_an_eviction_takes_one_pod_and_the_budget_refuses_the_next(
    serving: Release, under_load: UnderLoad, component: str
) -> None:
    pods = given_ready_pods(serving, component)
    assert len(pods) > 1
    with under_load(f"{component} evicted") as load:
        uid = when_a_pod_is_evicted(serving, pods[0])
        then_the_budget_refuses_another(serving, pods[1])
        then_another_is_ready_in_its_place(serving, component, uid, len(pods))
    load.then_no_request_failed()
    load.then_recommendations_stayed_personal()
    load.then_every_accepted_event_counts_once()


@pytest.mark.parametrize("component", KILLED)
def test_a_pod_out_of_memory_is_started_again_and_comes_back(
    serving: Release, under_load: UnderLoad, component: str
) -> None:
    pods = given_ready_pods(serving, component)
    with under_load(f"{component} out of memory") as load:
        when_its_memory_is_taken(serving, pods[0])
        then_it_was_killed_for_memory_and_is_ready_again(serving, component, pods[0])
    if component == "api":
        load.then_no_request_failed(but_one_post=True)
    else:
        load.then_no_request_failed()
    load.then_recommendations_stayed_personal()
    load.then_every_accepted_event_counts_once()


def given_ready_pods(release: Release, component: str) -> list[str]:
    pods = release.pods(component)
    assert pods
    assert all(map(is_ready, pods))
    return [name_of(pod) for pod in pods]


def when_a_pod_is_deleted(release: Release, pod: str) -> str:
    uid = uid_of(release.pod(pod))
    release.kubectl("delete", "pod", pod, "--wait=false")
    return uid


def when_a_pod_is_evicted(release: Release, pod: str) -> str:
    uid = uid_of(release.pod(pod))
    release.kubectl.evict(pod)
    return uid


def when_its_memory_is_taken(release: Release, pod: str) -> None:
    with pytest.raises(Refused):  # the container takes the command with it
        release.kubectl.inside(pod, "/opt/sluice/bin/python", "-c", HOG)


def then_the_budget_refuses_another(release: Release, pod: str) -> None:
    with pytest.raises(Refused, match=r"TooManyRequests.*disruption budget"):  # 429
        release.kubectl.evict(pod)


def then_another_is_ready_in_its_place(release: Release, component: str, gone: str, count: int) -> None:
    def replaced() -> bool:
        found = release.every_pod(component)
        return len(found) == count and all(map(is_ready, found)) and gone not in map(uid_of, found)

    until(replaced, f"another pod of {component} is ready and the old one has ended", PATIENCE_S)


def then_it_was_killed_for_memory_and_is_ready_again(release: Release, component: str, pod: str) -> None:
    def back() -> bool:
        found = next(each for each in release.pods(component) if name_of(each) == pod)
        (container,) = found["status"]["containerStatuses"]
        reason = container["lastState"].get("terminated", {}).get("reason")
        return reason == "OOMKilled" and is_ready(found)

    until(back, f"{pod} was killed for memory and is ready again", PATIENCE_S)
