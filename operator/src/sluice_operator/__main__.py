"""``sluice-operator``: rolls the snapshots of every RecommenderModel of one namespace out."""

import os
import sys
import threading
from typing import Final

import kopf
import structlog
from kopf._cogs.clients.errors import APIError
from kopf._cogs.clients.watching import WatchingError

from sluice import instruments, logs, settings, statsd, status
from sluice.backing import Backing
from sluice.errors import SluiceError, StorageUnavailable
from sluice.lifetime import Lifetime
from sluice.metrics import Process
from sluice_operator import handlers
from sluice_operator.exposition import RolloutExposition
from sluice_operator.kubernetes.api import Api, configuration
from sluice_operator.kubernetes.model import Gone
from sluice_operator.kubernetes.namespace import watched
from sluice_operator.kubernetes.objects import RECOMMENDER_MODELS, sluice
from sluice_operator.kubernetes.pods import Reporters
from sluice_operator.kubernetes.reconciling import Reconciler
from sluice_operator.passes import Ended, Pass, Passes
from sluice_operator.settings import OperatorSettings

_LOG = structlog.get_logger()
REST_S: Final = 2.0
"""Between two watches: what refused one may refuse the next."""


class Operator:
    """Wires one namespace's passes to their adapters."""

    def __init__(self, configured: OperatorSettings, backing: Backing, api: Api, namespace: str) -> None:
        self.exposition, self.namespace = RolloutExposition(), namespace
        self._configured, self._backing, self._api = configured, backing, api
        self._reporters = Reporters()
        self._unready: str | None = "not started yet"

    def begin(self, name: str) -> Pass:
        """Return the passes over one model."""
        one = Reconciler(self._configured, self._backing, self._api, self.namespace, name, self._reporters)
        counted = self.exposition.watched(one.key, one.reconcile)

        def one_pass(now: float) -> None:
            try:
                counted(now)
            except Gone:
                self.exposition.forget(one.key)
                raise Ended from None

        return one_pass

    def await_kind(self, stopping: threading.Event, interval_s: float) -> None:
        """Wait until RecommenderModels can be read: the API server is there and knows them, and a Role allows it."""
        while not stopping.is_set():
            try:
                self._api.listed(sluice(self.namespace, RECOMMENDER_MODELS), dict)
                self._unready = None
                return
            except StorageUnavailable as error:
                if self._unready != str(error):
                    _LOG.warning("models cannot be read yet", namespace=self.namespace, reason=str(error))
                self._unready = str(error)
            stopping.wait(interval_s)

    def unready(self) -> str | None:
        """Return why the operator cannot work yet; None if it can."""
        return self._unready


def work(configured: OperatorSettings, lifetime: Lifetime) -> None:
    """Do passes over every model of the namespace until the end of ``lifetime``."""
    stopping = lifetime.over
    namespace, backing = watched(configured.namespace), Backing(configured)
    operator = Operator(configured, backing, Api(configuration()), namespace)
    exposition, passes = operator.exposition, Passes(operator.begin, configured.interval_seconds)
    registry = instruments.with_instruments(exposition)
    server = status.serve(
        configured.metrics_host,
        configured.metrics_port,
        exposition.status,
        ready=operator.unready,
        stuck=passes.stuck,
        registry=registry,
    )
    with statsd.Pusher(configured.statsd, Process.CONTROLLER, registry):
        _LOG.info("operator started", namespace=namespace, port=server.server_port)
        try:
            while not stopping.is_set():
                operator.await_kind(stopping, configured.interval_seconds)
                _watch(namespace, passes.look, lifetime)
        finally:
            passes.stop()
            server.stop()


def _watch(namespace: str, look: handlers.Look, lifetime: Lifetime) -> None:
    """Let kopf watch until a signal ends it, or until the watch is refused: passes go on, and it is begun anew."""
    stopping = lifetime.over
    if stopping.is_set():
        return
    try:
        kopf.run(
            registry=handlers.registry(look, stopping),
            settings=handlers.settings(),
            namespaces=[namespace],
            standalone=True,
        )
        stopping.set()
    except (APIError, WatchingError) as error:
        lifetime.listen()  # kopf gives back no signal that it took
        _LOG.warning("watch ended, it is begun anew", namespace=namespace, reason=str(error) or repr(error))
        stopping.wait(REST_S)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    lifetime = Lifetime()
    lifetime.listen()
    try:
        configured = settings.read(OperatorSettings, os.environ)
        logs.configure(Process.CONTROLLER, configured.log_level)
        work(configured, lifetime)
    except (SluiceError, OSError) as error:
        print(f"sluice-operator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
