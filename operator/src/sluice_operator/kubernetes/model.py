"""A RecommenderModel as the store of its rollout's state, and as the place where people ask for something.

``status.rollout`` holds the state as it is; ``conditions`` and ``observedGeneration`` tell people of it. It is only
ever replaced whole, at the resourceVersion it was read at: also a changed spec throws a decision away.
"""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from sluice.errors import Conflict
from sluice_operator import conditions
from sluice_operator.adopting import Served, begun
from sluice_operator.conditions import Problem
from sluice_operator.kubernetes.api import Api, NotFound
from sluice_operator.kubernetes.objects import COMMAND, RECOMMENDER_MODELS, Metadata, sluice
from sluice_operator.news import News
from sluice_operator.rollout.observation import Command
from sluice_operator.rollout.state import RolloutState

_LOG = structlog.get_logger()


class Gone(Exception):
    """The RecommenderModel was deleted, or is about to be: what serves stays as it is."""


class KubernetesModel:
    """:class:`~sluice_operator.controller.StatusStore` and ``Commands`` of one RecommenderModel.

    :meth:`fetch` begins a pass; the others speak of what it found.
    """

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._path = api, sluice(namespace, RECOMMENDER_MODELS, name)
        self.metadata = Metadata()
        self.document: dict[str, Any] = {}
        self.problem: Problem | None = None
        """What is wrong with its spec; whoever checks it says so here."""
        self.outage = ""
        """Why nothing can be decided in this pass."""
        self._begun = RolloutState()
        self._news = News()

    def fetch(self, served: Served) -> None:
        """Read the object; ``served`` was read before. Raises :class:`Gone`."""
        self.outage = ""
        document: dict[str, Any] | None = self._api.get(self._path, dict[str, Any])
        if document is None:
            raise Gone
        self._take(document)
        if self.metadata.deletion_timestamp is not None:
            raise Gone
        self._begun = begun(self._written(), served)

    def read(self) -> tuple[int, RolloutState]:
        """See :class:`~sluice_operator.controller.StatusStore`; what was written counts from then on."""
        return int(self.metadata.resource_version), self._begun

    def write(self, state: RolloutState, version: int) -> None:
        """See :class:`~sluice_operator.controller.StatusStore`."""
        if str(version) != self.metadata.resource_version:
            raise Conflict(
                f"the status is at version {self.metadata.resource_version}, not {version}; decide anew"
            )
        self._put(self._status(state))
        self._begun = state

    def tell(self, state: RolloutState) -> None:
        """Write the status anew unless it says so already; raises :class:`~sluice.errors.Conflict`."""
        status = self._status(state)
        if status != self._present():
            self._put(status)

    def pending(self) -> tuple[Command, ...]:
        """Return what the annotation ``sluice.dev/command`` asks for: ``{"id", "verb", "snapshot", "step"}``.

        The latter two may be left out. It may stay there: what was done once is not done again.
        """
        asked = self.metadata.annotations.get(COMMAND)
        if not asked:
            return ()
        try:
            return (msgspec.json.decode(asked, type=Command),)
        except msgspec.DecodeError as error:
            self._complain(COMMAND, str(error))
            return ()

    def _present(self) -> dict[str, Any]:
        status = self.document.get("status")
        return status if isinstance(status, dict) else {}

    def _written(self) -> RolloutState | None:
        """Return the state in the status; None if there is none, or somebody made it unreadable."""
        rollout = self._present().get("rollout")
        try:
            return None if rollout is None else msgspec.convert(rollout, RolloutState)
        except msgspec.ValidationError as error:
            self._complain("status.rollout", str(error))
            return None

    def _status(self, state: RolloutState) -> dict[str, Any]:
        present, generation = self._present(), int(self.document["metadata"].get("generation", 0))
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = conditions.read(present.get("conditions"))
        told = conditions.conditions(state, self.problem, generation, before, now, self.outage)
        ours = {"rollout": state, "conditions": told, "observedGeneration": generation}
        # By way of JSON, so that it is what the API server will answer: no tuples, null for what is no number.
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ours))
        return present | document

    def _put(self, status: dict[str, Any]) -> None:
        try:
            written = self._api.replace(
                f"{self._path}/status", self.document | {"status": status}, dict[str, Any]
            )
        except NotFound:
            raise Gone from None
        self._take(written)

    def _take(self, document: dict[str, Any]) -> None:
        self.document = document
        self.metadata = msgspec.convert(document["metadata"], Metadata)

    def _complain(self, field: str, reason: str) -> None:
        """Say it once, not at every pass."""
        if self._news.broke(f"{field}: {reason}"):
            _LOG.error(
                "part of a model is unreadable and passed over", model=self._path, field=field, reason=reason
            )
