"""A shop: a client of the public API through the Ingress, which it names by host."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3

REQUEST_S = 15.0


class Answer(NamedTuple):
    """What came back: HTTP status (0 = no answer at all) and body."""

    status: int
    body: Any
    error: str = ""


class Shop:
    """Posts items and interactions and asks for recommendations, each once: nothing is sent a second time."""

    def __init__(self, url: str, host: str, admin_key: str) -> None:
        self._url, self._host, self._admin_key = url, host, admin_key
        self._http = urllib3.PoolManager(maxsize=8, retries=False, timeout=REQUEST_S)

    def post_items(self, items: Sequence[dict[str, Any]]) -> Answer:
        """Describe items, which needs the admin's key."""
        return self._ask("POST", "/v1/items", items, key=self._admin_key)

    def post_interactions(self, interactions: Sequence[dict[str, Any]]) -> Answer:
        """Report what users did."""
        return self._ask("POST", "/v1/interactions", interactions)

    def recommendations(self, user: str, **parameters: object) -> Answer:
        """Ask what to show a user."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self._ask("GET", f"/v1/recommendations/{quote(user)}{query}")

    def user(self, user: str) -> Answer:
        """Ask what is known of a user, which needs the admin's key."""
        return self._ask("GET", f"/v1/users/{quote(user)}", key=self._admin_key)

    def _ask(self, method: str, path: str, body: object = None, key: str = "") -> Answer:
        headers = {"Host": self._host} | ({"Authorization": f"Bearer {key}"} if key else {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body)
        try:
            answer = self._http.request(method, f"{self._url}{path}", body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            return Answer(0, None, repr(error))
        return Answer(answer.status, _decoded(answer.data), answer.headers.get("x-request-id", ""))


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode(errors="replace")
