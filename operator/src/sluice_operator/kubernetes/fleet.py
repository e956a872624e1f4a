"""The serving Deployments of a model as a fleet: pods by their labels, sizes by the scale subresource.

Neither Deployment's manifest holds a number of replicas. The canary's is the operator's; the stable one's is read.
"""

import json
from collections.abc import Iterable
from typing import Final

import structlog

from sluice.errors import Conflict, StaleEpoch, StorageUnavailable
from sluice.model import ModelSpec, Serving
from sluice_operator.adopting import Served
from sluice_operator.conditions import Problem
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.config_maps import ConfigMaps
from sluice_operator.kubernetes.objects import (
    MODEL_LABEL,
    TRACK_LABEL,
    ConfigMap,
    PodObject,
    Scale,
    core,
    scale_of,
    whole,
)
from sluice_operator.kubernetes.pods import Annotations, Reporters, alive, written_at
from sluice_operator.kubernetes.reminders import Reminders
from sluice_operator.news import News
from sluice_operator.rollout.actions import GroupName
from sluice_operator.rollout.observation import Fleet, Group, Pod

_LOG = structlog.get_logger()
STABLE_FILE: Final = "snapshots"
EPOCH_KEY: Final = "epoch"


class KubernetesFleet:
    """:class:`~sluice_operator.controller.FleetPort` of one model; ``spec`` is set before each pass."""

    def __init__(
        self, api: Api, namespace: str, model: str, config_maps: ConfigMaps, reporters: Reporters
    ) -> None:
        self.spec: ModelSpec | None = None
        self.told_at = 0
        """The highest epoch that a pod was told at, as of the last :meth:`observe`."""
        self._api, self._namespace, self._model = api, namespace, model
        self._config_maps, self._reporters = config_maps, reporters
        self._annotations, self._reminders = Annotations(api, namespace), Reminders(api, namespace)
        self._pods: dict[GroupName, list[PodObject]] = {}
        self._canary: Scale | None = None
        self._unrecorded: Problem | None = None
        self._astray: Problem | None = None
        self._news = News()

    def observe(self) -> Fleet:
        """See :class:`~sluice_operator.controller.FleetPort`."""
        self._pods = self._listed()
        every = [pod for pods in self._pods.values() for pod in pods]
        self.told_at = max(map(written_at, every), default=0)
        self._canary = self._scale(GroupName.CANARY)
        said = self._reporters.ask(every)
        self._reminders.look((pod, said[pod.metadata.name]) for pod in every)
        self._astray = self._following_another(said.values())
        stable, canary = (tuple(said[pod.metadata.name] for pod in self._pods[group]) for group in GroupName)
        return Fleet(
            stable=Group(desired=_replicas(self._scale(GroupName.STABLE)), pods=stable),
            canary=Group(desired=_replicas(self._canary), pods=canary),
        )

    def want(self, group: GroupName, snapshots: tuple[str, ...], epoch: int) -> None:
        """See :class:`~sluice_operator.controller.FleetPort`. New stable pods begin with the first of ``snapshots``."""
        if group is GroupName.STABLE:
            self._try_to_record(snapshots[:1], epoch)
        self._annotations.write(self._pods.get(group, []), snapshots, epoch)

    def scale_canary(self, replicas: int, epoch: int) -> None:
        """See :class:`~sluice_operator.controller.FleetPort`.

        A Deployment that changed since it was observed is left to the next pass: a later decision may have done it.
        """
        name = self.deployment(GroupName.CANARY)
        if self._canary is None and replicas:
            raise StorageUnavailable(f"Deployment {name} does not exist, so nothing can roll; install it")
        if self._canary is None or self._canary.spec.replicas == replicas:
            return
        version = {"resourceVersion": self._canary.metadata.resource_version}
        body = {"metadata": version, "spec": {"replicas": replicas}}
        try:
            self._api.patch(scale_of(self._namespace, name), body)
        except Conflict as error:
            _LOG.info("canary changed meanwhile", model=self._model, reason=str(error))
        else:
            _LOG.info("canary scaled", model=self._model, replicas=replicas, epoch=epoch)

    @property
    def problem(self) -> Problem | None:
        """Why new stable pods do not begin with what is stable now, or pods follow other items than the model's."""
        return self._unrecorded or self._astray

    def served(self) -> Served:
        """Return what ``<model>-stable`` says."""
        present = self._recorded()
        return Served() if present is None else Served(whole(present.data, EPOCH_KEY), _first(present))

    def deployment(self, group: GroupName) -> str:
        """Return a group's Deployment: the one named in the spec, else that of the chart."""
        canary = group is GroupName.CANARY
        serving = self.spec.serving if self.spec is not None else Serving()
        named = serving.canary_ref if canary else serving.stable_ref
        return named.name if named is not None else f"{self._model}-faiss{'-canary' if canary else ''}"

    def _listed(self) -> dict[GroupName, list[PodObject]]:
        selector = f"{MODEL_LABEL}={self._model},{TRACK_LABEL}"
        found = [
            pod for pod in self._api.listed(core(self._namespace, "pods"), PodObject, selector) if alive(pod)
        ]
        return {
            group: [pod for pod in found if pod.metadata.labels[TRACK_LABEL] == group] for group in GroupName
        }

    def _following_another(self, said: Iterable[Pod]) -> Problem | None:
        """Return that pods follow the items of another source than the spec's, if some do."""
        if self.spec is None:
            return None
        wanted = self.spec.source.name
        others = sorted({pod.source for pod in said if pod.source is not None} - {wanted})
        if not others:
            return None
        return Problem(
            "OtherSource",
            f"Faiss pods follow the items of source {', '.join(others)}, the model's source is {wanted}: "
            "install the faiss chart with that global.source, or correct spec.source.name.",
        )

    def _scale(self, group: GroupName) -> Scale | None:
        return self._api.get(scale_of(self._namespace, self.deployment(group)), Scale)

    @property
    def _record_name(self) -> str:
        return f"{self._model}-stable"

    def _recorded(self) -> ConfigMap | None:
        return self._config_maps.read(self._record_name)

    def _try_to_record(self, snapshots: tuple[str, ...], epoch: int) -> None:
        """Write down what new pods begin with; if that cannot be done now the present pods are told all the same."""
        try:
            self._record(snapshots, epoch)
        except (Conflict, StorageUnavailable) as error:
            if not isinstance(error, Conflict):  # somebody wrote it just now: the next pass sees
                self._unrecorded = Problem("StableNotRecorded", str(error))
            if self._news.broke(str(error)):
                _LOG.warning(
                    "stable snapshot cannot be written down now",
                    config_map=self._record_name,
                    reason=str(error),
                )
        else:
            self._unrecorded = None
            if self._news.mended():
                _LOG.info("stable snapshot is written down again", config_map=self._record_name)

    def _record(self, snapshots: tuple[str, ...], epoch: int) -> None:
        present = self._recorded()
        if present is not None and (newer := whole(present.data, EPOCH_KEY)) > epoch:
            raise StaleEpoch(f"{self._record_name} was written at epoch {newer}, not {epoch}; decide anew")
        data = {STABLE_FILE: json.dumps(list(snapshots)), EPOCH_KEY: str(epoch)}
        self._config_maps.write(self._record_name, data, present)


def _replicas(scale: Scale | None) -> int:
    return 0 if scale is None else scale.spec.replicas


def _first(recorded: ConfigMap) -> str | None:
    """Return the stable snapshot it names; None for none, or if somebody wrote what is no list."""
    try:
        named = json.loads(recorded.data.get(STABLE_FILE, "[]"))
    except ValueError:
        return None
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
