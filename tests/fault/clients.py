"""Clients of the public API that keep a ledger: what they sent, what was acknowledged, what came back instead."""

import random
import threading
from collections import Counter
from typing import Any

import orjson
import urllib3

FAILED = 0
"""Stands in the ledger for the status of a request that was not answered at all."""
ALLOWED = {200, 202, 503, FAILED}


class Ledger:
    """What several clients noted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.accepted: dict[str, tuple[str, str]] = {}
        self.statuses: Counter[int] = Counter()
        self.unexpected: list[tuple[int, str, bytes]] = []
        self.forgets = 0

    def answered(self, status: int, path: str, body: bytes) -> None:
        """Note a response."""
        with self._lock:
            self.statuses[status] += 1
            if status not in ALLOWED:
                self.unexpected.append((status, path, body[:300]))

    def accept(self, interactions: list[dict[str, Any]]) -> None:
        """Note interactions that the API has acknowledged."""
        with self._lock:
            for each in interactions:
                self.accepted[each["event_id"]] = (each["user_id"], each["item_id"])


class Client(threading.Thread):
    """Posts, asks and forgets until told to stop; what is not acknowledged is sent again with the same ids."""

    def __init__(
        self, number: int, api: str, ledger: Ledger, stopping: threading.Event, pause_s: float
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._chance, self._number, self._ledger = random.Random(number), number, ledger
        self._stopping, self._pause_s, self._api = stopping, pause_s, api
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(5.0), retries=False)
        self._sent: list[dict[str, Any]] = []

    def run(self) -> None:
        """Work until stopped; the last batch is acknowledged before the end."""
        while not self._stopping.wait(self._chance.uniform(0, 2 * self._pause_s)):
            act = self._chance.random()
            if act < 0.55:
                self._post(self._batch(self._chance.randrange(1, 12)))
            elif act < 0.94:
                self._ask_and_click()
            elif act < 0.97:
                user = self._user()
                self._until_taken(
                    "PUT", f"/v1/users/{user}", {"features": [f"age:{self._chance.randrange(9)}"]}
                )
            else:
                self._until_taken("DELETE", f"/v1/users/{self._user()}", None)
                self._ledger.forgets += 1

    def _user(self) -> str:
        return f"user-{self._number}-{self._chance.randrange(15)}"

    def _event(self, user: str, item: str, **more: str) -> dict[str, Any]:
        event_id = f"{self._number}-{len(self._sent)}"
        event = {"user_id": user, "item_id": item, "event_id": event_id, **more}
        self._sent.append(event)
        return event

    def _batch(self, size: int) -> list[dict[str, Any]]:
        """Return new interactions, and now and then one that was sent before."""
        batch = [self._event(self._user(), f"item-{self._chance.randrange(80)}") for _ in range(size)]
        return batch + ([self._chance.choice(self._sent)] if self._chance.random() < 0.3 else [])

    def _ask_and_click(self) -> None:
        user = self._user()
        status, body = self._send("GET", f"/v1/recommendations/{user}?n=5", None)
        if status != 200:
            return
        answer = orjson.loads(body)
        items = [each["item_id"] for each in answer["items"]]
        if items and self._chance.random() < 0.5:
            named = {"request_id": answer["request_id"]} if self._chance.random() < 0.5 else {}
            self._post([self._event(user, self._chance.choice(items), **named)])

    def _post(self, batch: list[dict[str, Any]]) -> None:
        self._until_taken("POST", "/v1/interactions", batch)
        self._ledger.accept(batch)

    def _until_taken(self, method: str, path: str, document: Any) -> None:
        while self._send(method, path, document)[0] != 202:
            self._stopping.wait(0.02) or self._chance.random()  # also when stopping: until acknowledged

    def _send(self, method: str, path: str, document: Any) -> tuple[int, bytes]:
        body = None if document is None else orjson.dumps(document)
        headers = {"Content-Type": "application/json"}
        try:
            response = self._http.request(method, self._api + path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            self._ledger.answered(FAILED, path, b"")
            return FAILED, b""
        self._ledger.answered(response.status, path, response.data)
        return response.status, response.data
