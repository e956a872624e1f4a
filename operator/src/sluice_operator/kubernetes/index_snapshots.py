"""IndexSnapshots: one object for each verified snapshot of the catalog, as long as it is listed there."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from sluice.catalog import CatalogEntry
from sluice.errors import Conflict
from sluice.index_snapshot import KIND, SHORT, SnapshotPhase, spec_of
from sluice.model import API_VERSION
from sluice.model import KIND as MODEL_KIND
from sluice_operator.kubernetes.api import Api, NotFound
from sluice_operator.kubernetes.objects import INDEX_SNAPSHOTS, MODEL_LABEL, Metadata, own, sluice
from sluice_operator.rollout.state import RolloutState

_LOG = structlog.get_logger()


class _Object(msgspec.Struct, frozen=True, kw_only=True):
    """An IndexSnapshot as it is."""

    metadata: Metadata
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class IndexSnapshots:
    """Keeps the objects of one model."""

    def __init__(self, api: Api, namespace: str, verified: Callable[[CatalogEntry], bool]) -> None:
        self._api, self._namespace, self._verified = api, namespace, verified

    def keep(self, model: Metadata, entries: Iterable[CatalogEntry], state: RolloutState) -> None:
        """Let there be an object for each sound snapshot of ``entries``, and none for what is listed no more.

        One whose owner or contents are another's (the model was applied anew, an id came back) is made anew.
        """
        listed = {f"{model.name}.{entry.id}": entry for entry in entries}
        present = {each.metadata.name: each for each in self._present(model)}
        for name, each in present.items():
            entry = listed.get(name)
            if entry is None or not _is(each, model, entry):
                self._api.delete(self._path(name), each.metadata.uid)
                _LOG.info("index snapshot deleted", index_snapshot=name)
            else:
                self._tell(each, entry, state)
        for name, entry in listed.items():
            if name not in present and not entry.released and self._verified(entry):
                self._make(name, model, entry)

    def _present(self, model: Metadata) -> list[_Object]:
        found = self._api.listed(self._path(), _Object, f"{MODEL_LABEL}={model.name}")
        return [each for each in found if each.metadata.deletion_timestamp is None]

    def _make(self, name: str, model: Metadata, entry: CatalogEntry) -> None:
        owner = {"apiVersion": API_VERSION, "kind": MODEL_KIND, "name": model.name, "uid": model.uid}
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": own(model.name, name, ownerReferences=[owner | {"controller": True}]),
            "spec": msgspec.to_builtins(spec_of(model.name, entry)),
        }
        try:
            self._api.create(self._path(), body)
        except Conflict:  # it is being deleted, or another operator made it just now: the next pass sees
            return
        _LOG.info("index snapshot made", index_snapshot=name)

    def _tell(self, present: _Object, entry: CatalogEntry, state: RolloutState) -> None:
        status = {"phase": phase_of(entry, state).value, "shortDigest": entry.digest[:SHORT]}
        if present.status == status:
            return
        try:
            self._api.patch(f"{self._path(present.metadata.name)}/status", {"status": status})
        except NotFound:
            return

    def _path(self, name: str = "") -> str:
        return sluice(self._namespace, INDEX_SNAPSHOTS, name)


def _is(present: _Object, model: Metadata, entry: CatalogEntry) -> bool:
    owned = any(owner.uid == model.uid for owner in present.metadata.owner_references)
    spec = [
        present.spec.get(field) for field in ("snapshot", "digest", "uri")
    ]  # a newer version may have more
    return owned and spec == [entry.id, entry.digest, entry.uri]


def phase_of(entry: CatalogEntry, state: RolloutState) -> SnapshotPhase:
    """Return what a snapshot is to the rollout."""
    if entry.id == state.stable:
        return SnapshotPhase.STABLE
    if entry.id == state.candidate:
        return SnapshotPhase.CANDIDATE
    if entry.released:
        return SnapshotPhase.RELEASED
    if state.aborted_reason(entry.id) is not None:
        return SnapshotPhase.ABORTED
    return SnapshotPhase.PROMOTED if entry.id in state.promoted else SnapshotPhase.VERIFIED
