"""One pass over one RecommenderModel: what is known to serve, the object, its spec, the rollout, what is told of it."""

import structlog

from sluice.backing import Backing
from sluice.catalog import Catalog
from sluice.errors import Conflict, SluiceError, StorageUnavailable
from sluice.model import ModelSpec
from sluice.routing import RoutingStore
from sluice_operator.adopting import Served, newest
from sluice_operator.controller import Controller
from sluice_operator.exposition import CountedNotes
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.config_maps import ConfigMaps
from sluice_operator.kubernetes.fleet import KubernetesFleet
from sluice_operator.kubernetes.index_snapshots import IndexSnapshots
from sluice_operator.kubernetes.model import KubernetesModel
from sluice_operator.kubernetes.notes import KubernetesNotes
from sluice_operator.kubernetes.pods import Reporters
from sluice_operator.kubernetes.spec_readers import SpecReaders
from sluice_operator.kubernetes.specs import SpecsInForce
from sluice_operator.news import News
from sluice_operator.rollout.state import RolloutState
from sluice_operator.settings import OperatorSettings
from sluice_operator.verifying import VerifiedEntries

_LOG = structlog.get_logger()


class Reconciler:
    """Does the passes over the model ``name`` of ``namespace``; one thread at a time."""

    def __init__(
        self,
        settings: OperatorSettings,
        backing: Backing,
        api: Api,
        namespace: str,
        name: str,
        reporters: Reporters,
    ) -> None:
        self.key = f"{namespace}.{name}"
        self._api, self._namespace, self._backing = api, namespace, backing
        self._model = KubernetesModel(api, namespace, name)
        config_maps = ConfigMaps(api, namespace, name)
        self._specs = SpecsInForce(config_maps, SpecReaders(api, namespace), name)
        self._fleet = KubernetesFleet(api, namespace, name, config_maps, reporters)
        self._catalog: Catalog = backing.catalog(self.key)
        self._routing: RoutingStore = backing.routing(self.key)
        store = backing.snapshots(self.key) if settings.store else None
        self._verified = VerifiedEntries(store, settings.home_path / self.key)
        self._snapshots = IndexSnapshots(api, namespace, self._verified)
        self._controller: Controller | None = None
        self._uid = ""
        self._news = News()

    def reconcile(self, now: float) -> RolloutState:
        """Do one pass at ``now`` (Unix seconds) and return the state it left.

        Raises what :meth:`~sluice_operator.controller.Controller.reconcile` does, and
        :class:`~sluice_operator.kubernetes.model.Gone` if there is no such model any more.
        """
        self._model.fetch(self._served())  # in this order: see sluice_operator.adopting.begun
        spec, problem = self._specs.of(self._model.document)
        self._model.problem = problem or self._fleet.problem
        try:
            state = self._decided(spec, now)
        except StorageUnavailable as error:
            self._tell_outage(error)
            raise
        self._model.problem = problem or self._fleet.problem
        self._model.tell(state)
        self._keep_snapshots(state)
        return state

    def _decided(self, spec: ModelSpec | None, now: float) -> RolloutState:
        """Return the state that a pass of the rollout left; without a spec nothing rolls."""
        if spec is None:
            return self._model.read()[1]
        self._fleet.spec = spec
        return self._controlled(spec).reconcile(now)

    def _tell_outage(self, error: StorageUnavailable) -> None:
        """Tell in the conditions why nothing is decided, as far as the API server takes it."""
        self._model.outage = str(error)
        try:
            self._model.tell(self._model.read()[1])
        except SluiceError as other:
            _LOG.debug("outage cannot be told", model=self.key, reason=str(other))

    def _served(self) -> Served:
        """Return what was told last, in the routing or to new pods, and no lower epoch than any pod was told at."""
        try:
            routing = self._routing.read()
        except StorageUnavailable as error:
            _LOG.debug("routing cannot be read", model=self.key, reason=str(error))
            routing = None
        known = [Served(routing.epoch, routing.stable)] if routing is not None else []
        return newest(*known, self._fleet.served()).not_below(self._fleet.told_at)

    def _controlled(self, spec: ModelSpec) -> Controller:
        """Return the controller with the spec in force; a model that was applied anew has another."""
        uid = self._model.metadata.uid
        if self._controller is None or uid != self._uid:
            self._controller, self._uid = self._made(spec), uid
        self._controller.spec = spec
        return self._controller

    def _made(self, spec: ModelSpec) -> Controller:
        notes = KubernetesNotes(self._api, self._namespace, lambda: self._model.metadata)
        return Controller(
            spec,
            status=self._model,
            commands=self._model,
            fleet=self._fleet,
            notes=CountedNotes(notes, self.key),
            catalog=self._catalog,
            evidence=self._backing.evidence(self.key),
            routing=self._routing,
            verified=self._verified,
        )

    def _keep_snapshots(self, state: RolloutState) -> None:
        """Keep the IndexSnapshots; they follow what was decided, so a failure costs only time."""
        try:
            self._snapshots.keep(self._model.metadata, self._catalog.entries(), state)
        except Conflict as error:
            _LOG.debug("index snapshots changed meanwhile", model=self.key, reason=str(error))
        except SluiceError as error:
            if self._news.broke(str(error)):
                _LOG.warning("index snapshots cannot be kept now", model=self.key, reason=str(error))
        else:
            if self._news.mended():
                _LOG.info("index snapshots are kept again", model=self.key)
