"""The HTTP client of the demo: what any client of the API would do."""

import itertools
import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson
import urllib3

from sluice import records
from sluice.errors import SluiceError
from sluice.records import Interaction, Item

BATCH: Final = 1_000
AGAIN: Final = 10
"""How often a request is tried again."""

_JSON: Final = {"Content-Type": "application/json"}


class AnswerItem(msgspec.Struct, frozen=True):
    """One recommended item."""

    item_id: str
    score: float = 0.0
    metadata: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        """Its title, or its id."""
        return str((self.metadata or {}).get("title") or self.item_id)


class Recommendations(msgspec.Struct, frozen=True):
    """What ``GET /v1/recommendations/{user_id}`` answers."""

    request_id: str
    strategy: str
    snapshot: str | None = None
    track: str = "stable"
    items: tuple[AnswerItem, ...] = ()


class ApiFailed(SluiceError):
    """The API refused a request or did not answer."""


class Client:
    """A keep-alive client; share it between threads.

    After a 503 it asks again when it is told to. What it sent may be in the log all the same, so each interaction has
    an ``event_id``: then it counts once.
    """

    def __init__(self, api: str, connections: int = 8) -> None:
        self._api, self._sent, self._run = api, itertools.count(), uuid.uuid4().hex[:8]
        again = urllib3.Retry(
            AGAIN, status_forcelist=(503,), allowed_methods=None, backoff_factor=0.1, raise_on_status=False
        )
        self._pool = urllib3.PoolManager(maxsize=connections, timeout=urllib3.Timeout(10.0), retries=again)

    def recommendations(self, user_id: str, n: int = 20, model: str | None = None) -> Recommendations:
        """Ask a model, the API's first by default, for ``n`` items for a user.

        It is asked through the body, so that any id may be asked for.
        """
        asked = {"user_id": user_id, "n": n} | ({"model": model} if model else {})
        data = self._send("POST", "/v1/recommendations", asked)
        return msgspec.json.decode(data, type=Recommendations)

    def post_interactions(self, interactions: Sequence[Interaction]) -> None:
        """Send interactions, 1,000 a request; when this returns, the log has them."""
        for start in range(0, len(interactions), BATCH):
            chunk = [_encoded(self._named(each)) for each in interactions[start : start + BATCH]]
            self._send("POST", "/v1/interactions", chunk)

    def _named(self, interaction: Interaction) -> Interaction:
        if interaction.event_id is not None:
            return interaction
        return msgspec.structs.replace(interaction, event_id=f"{self._run}-{next(self._sent)}")

    def post_items(self, items: Sequence[Item]) -> None:
        """Send items, 1,000 a request."""
        for start in range(0, len(items), BATCH):
            self._send("POST", "/v1/items", [_encoded(each) for each in items[start : start + BATCH]])

    def _send(self, method: str, path: str, document: object) -> bytes:
        try:
            answer = self._pool.request(method, self._api + path, body=orjson.dumps(document), headers=_JSON)
        except urllib3.exceptions.HTTPError as error:
            raise ApiFailed(f"{method} {path}: the API does not answer ({error}); see its log") from error
        if answer.status >= 300:
            raise ApiFailed(f"{method} {path}: {answer.status} {answer.data[:300].decode(errors='replace')}")
        return answer.data


def _encoded(record: Interaction | Item) -> orjson.Fragment:
    return orjson.Fragment(records.encode(record))
