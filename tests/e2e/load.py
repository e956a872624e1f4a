"""Constant load: one thread reports interactions, others ask for recommendations, each request is written down.

Each interaction has an ``event_id``, and a user of the load never meets an item twice. So what was accepted can be
held against what was applied: the user's profile has just these items, and the trainer has learned just so many.
"""

import itertools
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from e2e import journey
from e2e.release import PATIENCE_S, Release
from e2e.shop import Answer, Shop
from e2e.waiting import until

EVENTS_PER_S = 25.0
ASKED_PER_S = 12.5
ASKERS = 2
EVENTS_PER_USER = 40
"""Fewer than the recent interactions that a profile keeps."""
REQUESTS_AT_LEAST = 40
"""So many before and after whatever happens under the load."""
AGAIN_S = 0.5


class Load:
    """Runs while its ``with`` block does."""

    def __init__(self, release: Release, shop: Shop) -> None:
        self._release, self._shop = release, shop
        self._name = uuid.uuid4().hex[:8]
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._learned_before = 0
        self.accepted: defaultdict[str, list[str]] = defaultdict(list)
        self.statuses: Counter[str] = Counter()
        self.strategies: Counter[str] = Counter()
        self.snapshots: Counter[str] = Counter()
        self.failed: list[str] = []
        self.slowest_s = 0.0
        self._threads = [threading.Thread(target=self._post)]
        self._threads += [threading.Thread(target=self._ask, args=(number,)) for number in range(ASKERS)]

    def __enter__(self) -> Self:
        self._learned_before = journey.wait_until_learned(self._release)["interactions"]
        for thread in self._threads:
            thread.start()
        self.wait_for_requests(REQUESTS_AT_LEAST)
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:
            self.wait_for_requests(self.statuses.total() + REQUESTS_AT_LEAST)
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests are through, or have failed."""
        until(lambda: self.statuses.total() >= count, f"{count} requests of the load", PATIENCE_S)

    def then_no_request_failed(self, *, but_one_post: bool = False) -> None:
        """Judge the statuses: 202 for every event, 200 for every question.

        ``but_one_post``: a process of the API was killed. No proxy may repeat the POST that it had begun to answer; the
        client does, with the same ``event_id``. There is one at a time here.
        """
        failed = len(self.failed)
        posts = sum(count for status, count in self.statuses.items() if status.startswith("post 5"))
        told = f"{failed} of {self.statuses.total()} failed: {self.failed[:10]}"
        assert (failed == posts <= 1) if but_one_post else not failed, told

    def then_recommendations_stayed_personal(self) -> None:
        """Judge the answers: not one fell back to popular items."""
        others = {
            name: count for name, count in self.strategies.items() if not name.startswith("personalized")
        }
        assert not others, f"{others} beside {self.strategies['personalized']} personal ones"

    def then_every_accepted_event_counts_once(self) -> None:
        """Judge profiles and trainer: nothing that was accepted is missing, nothing is there twice."""
        events = sum(map(len, self.accepted.values()))
        journey.wait_until_applied(self._release, self._shop, self.accepted, self._learned_before + events)

    def figures(self) -> dict[str, object]:
        """Return what there was of what."""
        return {
            "requests": self.statuses.total(),
            "failed": len(self.failed),
            "events": sum(map(len, self.accepted.values())),
            "slowest_s": round(self.slowest_s, 3),
            "statuses": dict(self.statuses),
            "strategies": dict(self.strategies),
            "snapshots": dict(self.snapshots),
            "failures": self.failed[:50],
        }

    def _post(self) -> None:
        """Report one interaction after another; what failed is sent again, with its ``event_id``, until it is taken."""
        for number in self._paced(EVENTS_PER_S):
            user_number, place = divmod(number, EVENTS_PER_USER)
            user = f"load-{self._name}-{user_number}"
            item = journey.ITEMS[(user_number * 7 + place) % len(journey.ITEMS)]
            event = {"user_id": user, "item_id": item, "event": "view", "event_id": f"{self._name}-{number}"}
            while self._counted("post", 202, partial(self._shop.post_interactions, [event])) is None:
                if self._ended.wait(AGAIN_S):
                    return
            self.accepted[user].append(item)

    def _ask(self, first: int) -> None:
        for number in self._paced(ASKED_PER_S):
            user = journey.USERS[(first + number * ASKERS) % len(journey.USERS)]
            answer = self._counted("ask", 200, partial(self._shop.recommendations, user, n=5))
            if answer is not None:
                with self._lock:
                    self.strategies[answer["strategy"]] += 1
                    self.snapshots[answer["snapshot"] or "none"] += 1

    def _counted(self, kind: str, wanted: int, ask: Callable[[], Answer]) -> dict[str, Any] | None:
        """Ask once and write down what came; return the body if it is what was wanted."""
        began = time.monotonic()
        answer = ask()
        took_s = time.monotonic() - began
        with self._lock:
            self.statuses[f"{kind} {answer.status}"] += 1
            self.slowest_s = max(self.slowest_s, took_s)
            if answer.status == wanted:
                return answer.body
            at = time.strftime("%H:%M:%S", time.gmtime())
            self.failed.append(
                f"{at} {kind} {answer.status} {answer.error} after {took_s:.2f} s: {answer.body}"
            )
        return None

    def _paced(self, per_s: float) -> Iterator[int]:
        """Count until the end, at this rate: a beat that is missed is made up for."""
        began = time.monotonic()
        for number in itertools.count():
            if self._ended.wait(max(0.0, began + number / per_s - time.monotonic())):
                return
            yield number


class UnderLoad:
    """Makes loads, and writes down their figures."""

    def __init__(self, release: Release, shop: Shop, figures: dict[str, Any]) -> None:
        self._release, self._shop, self._figures = release, shop, figures

    @contextmanager
    def __call__(self, name: str) -> Iterator[Load]:
        """Run a load while the block does."""
        load, began = Load(self._release, self._shop), time.monotonic()
        try:
            with load:
                yield load
        finally:
            loads = self._figures.setdefault("loads", {})
            loads[name] = {"seconds": round(time.monotonic() - began, 1)} | load.figures()
