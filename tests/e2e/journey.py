"""The way from an empty platform to recommendations, step by step: what the first test walks and others start from."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from e2e.release import MODEL, PATIENCE_S, Release, wanted_by
from e2e.shop import Answer, Shop
from e2e.waiting import until

USERS = [f"user-{number}" for number in range(60)]
ITEMS = [f"item-{number}" for number in range(150)]
INTERACTIONS = 1_200
"""More than the trainer waits for before it trains."""
LEARNING_S = 180.0
HANDED_OVER_S = 55.0
"""Less than kubelet takes to see a new ConfigMap by itself, 60 to 90 seconds: the operator has it look."""


def history() -> list[dict[str, str]]:
    """Return interactions of users who keep to one of three kinds of items, always the same ones."""
    chance = random.Random(6)
    found = []
    for number in range(INTERACTIONS):
        user = number % len(USERS)
        item = min(int(chance.expovariate(0.06)), 49) * 3 + user % 3
        found.append({"user_id": USERS[user], "item_id": ITEMS[item], "event_id": f"history-{number}"})
    return found


def items() -> list[dict[str, Any]]:
    """Return all items."""
    kinds = ("crime", "comedy", "drama")
    return [
        {"item_id": item, "title": item.title(), "features": [f"genre:{kinds[number % 3]}"]}
        for number, item in enumerate(ITEMS)
    ]


def apply_model(release: Release) -> None:
    """Apply the model and wait until every pod of the API serves it."""
    release.apply_model()
    until(
        lambda: all(map(release.knows_the_model, release.pods("api"))),
        "every API pod serves the model",
        HANDED_OVER_S,
    )


def post_all(shop: Shop) -> None:
    """Describe all items and report the history, in requests of 400."""
    _post(lambda: shop.post_items(items()))
    events = history()
    for start in range(0, len(events), 400):
        _post(partial(shop.post_interactions, events[start : start + 400]))


def _post(once: Callable[[], Answer]) -> None:
    """Post until it is accepted: a worker from before the model answers beside its successor for a second or two."""

    def accepted() -> bool:
        answer = once()
        assert answer.status == 202 or answer.body["type"] == "urn:sluice:no-model", answer
        return answer.status == 202

    until(accepted, "what is posted is accepted", HANDED_OVER_S)


def served(release: Release, newest: str) -> bool:
    """Return whether every stable pod wants and has a snapshot and new pods are told of it."""
    pods = release.ready_pods("faiss", "stable")
    return bool(pods) and release.stable() == [newest] and all(_has(release, pod, newest) for pod in pods)


def _has(release: Release, pod: dict[str, Any], snapshot: str) -> bool:
    loaded = release.faiss_status(pod).get("loaded", ())
    return snapshot in wanted_by(pod) and snapshot in [each["id"] for each in loaded]


def wait_until_served(release: Release, other_than: str = "") -> str:
    """Return the newest snapshot once the operator has let it through to every stable pod."""

    def newest() -> str:
        name = release.trainer_status().get("newest") or ""
        return name if name not in ("", other_than) and served(release, name) else ""

    return until(newest, f"the newest snapshot of {MODEL} is served by every stable pod", LEARNING_S)


def wait_until_answered(shop: Shop, user: str, snapshot: str) -> dict[str, object]:
    """Return the recommendations of a user once they come from this snapshot."""

    def answer() -> dict[str, object]:
        said = shop.recommendations(user, n=5)
        return said.body if said.status == 200 and said.body["snapshot"] == snapshot else {}

    return until(answer, f"{user} is answered from {snapshot}", PATIENCE_S)


def wait_until_learned(release: Release, count: int = 0) -> dict[str, Any]:
    """Return the trainer's status once it has learned so many interactions and all that the log holds."""

    def learned() -> dict[str, Any]:
        status = release.trainer_status()
        return status if status.get("lag") == 0 and status["interactions"] >= count else {}

    return until(learned, f"the trainer has learned {count} interactions, and all of the log", PATIENCE_S)


def wait_until_applied(release: Release, shop: Shop, accepted: Mapping[str, list[str]], learned: int) -> None:
    """Wait until profiles and trainer have all that was accepted; fail if something is missing or there twice."""
    status = wait_until_learned(release, learned)
    assert (status["interactions"], status["rejected"], status["refused"]) == (learned, 0, 0), status
    until(
        lambda: not missing(shop, accepted), "the profiles have every accepted interaction once", PATIENCE_S
    )


def missing(shop: Shop, accepted: Mapping[str, list[str]]) -> dict[str, object]:
    """Return for each user whose profile is not just what was accepted, in its order, how it differs."""
    found = {}
    for user, items in accepted.items():
        said = shop.user(user)
        recent = [each["item_id"] for each in said.body["recent"]] if said.status == 200 else said
        if recent != list(reversed(items)):
            found[user] = {"accepted": items, "profile": recent}
    return found


def serve(release: Release, shop: Shop) -> str:
    """Bring the platform to where it serves a snapshot, unless it does; return the snapshot."""
    if not release.stable():
        apply_model(release)
        post_all(shop)
    return wait_until_served(release)
