"""The RecommenderModel: one file that says what to learn, from what, and how to let it through.

These types are the single source of the CRD schema (:mod:`sluice.crd`), of ``lint`` (:mod:`sluice.lint`)
and of what the services read. Decimals are strings and percents integers, so that a spec survives every
YAML and JSON tool unchanged.
"""

from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

API_VERSION: Final = "sluice.dev/v1alpha1"
KIND: Final = "RecommenderModel"

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(ms|s|m|h)$", max_length=12)]
Decimal = Annotated[str, Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,12})?$", max_length=26)]
Weight = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$", max_length=25)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Scalar = str | int


class Spec(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """Base of every part of a RecommenderModel: camelCase on the wire, unknown fields refused."""


class AlgorithmType(StrEnum):
    """The learners a model can name."""

    POPULAR = "Popular"
    CO_VISITATION = "CoVisitation"
    GMF = "GMF"
    ALS = "ALS"
    ITEM2VEC = "Item2Vec"
    HYBRID = "Hybrid"
    TFIDF_USERS = "TfidfUsers"
    KNN_USERS = "KnnUsers"
    DNN_USERS = "DnnUsers"
    BLEND = "Blend"


class Algorithm(Spec, frozen=True):
    """Which learner, with which parameters; each learner checks its own and names the unknown ones."""

    type: AlgorithmType
    parameters: Annotated[dict[str, Scalar], Meta(max_length=32)] = {}


class Source(Spec, frozen=True):
    """The topics of one shop or site. ``event_weights`` maps an event kind to what it counts."""

    name: Name = "shop"
    event_weights: Annotated[dict[str, Weight], Meta(max_length=32)] = {}
    attribution_window: Duration = "30m"


class Snapshots(Spec, frozen=True):
    """When to cut: after ``interval`` or ``events``, whichever comes first. ``pin`` = stay on that one."""

    interval: Duration = "10m"
    events: Count = 100_000
    history_limit: Annotated[int, Meta(ge=3, le=100)] = 10
    pin: Name | None = None


class Reference(Spec, frozen=True):
    """A Deployment in the model's namespace."""

    name: Name


class Serving(Spec, frozen=True):
    """Who serves: the stable and the canary Faiss Deployment."""

    stable_ref: Reference | None = None
    canary_ref: Reference | None = None
    exclude_seen: bool = True


class OnFailure(StrEnum):
    """What a failed gate does."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"


class OnTimeout(StrEnum):
    """What a gate does that could not decide in time; ``Proceed`` = stop only on Fail."""

    PAUSE = "Pause"
    ROLLBACK = "Rollback"
    PROCEED = "Proceed"


class GateSource(StrEnum):
    """Where a gate's evidence comes from."""

    SNAPSHOT = "Snapshot"
    PREQUENTIAL = "Prequential"
    ONLINE = "Online"


class CompareTo(StrEnum):
    """What a gate's metric is held against instead of a fixed bound."""

    STABLE = "Stable"
    POPULAR = "Popular"
    LAST_PROMOTION = "LastPromotion"


class Gate(Spec, frozen=True):
    """A named test of one metric: against ``min``/``max``, or against another within ``margin``."""

    name: Name
    source: GateSource
    metric: Annotated[str, Meta(pattern=r"^[a-zA-Z][a-zA-Z0-9@]{0,39}$", max_length=40)]
    min: Decimal | None = None
    max: Decimal | None = None
    compare_to: CompareTo | None = None
    margin: Decimal | None = None
    min_samples: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1
    on_timeout: OnTimeout = OnTimeout.PAUSE
    dry_run: bool = False


class Shadow(Spec, frozen=True):
    """Score the candidate beside stable on at least so many paired events; no user sees it."""

    events: Count


class Pause(Spec, frozen=True):
    """Wait for ``duration``; without one, until promoted by hand."""

    duration: Duration | None = None


class GateStep(Spec, frozen=True):
    """Wait until every named gate passes, at most ``timeout``."""

    names: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]
    timeout: Duration = "30m"


class Step(Spec, frozen=True):
    """Exactly one key."""

    shadow: Shadow | None = None
    set_weight: Percent | None = None
    pause: Pause | None = None
    gate: GateStep | None = None


class Rollout(Spec, frozen=True):
    """How a candidate becomes stable."""

    on_failure: OnFailure = OnFailure.ROLLBACK
    progress_deadline: Duration = "15m"
    paused: bool = False
    steps: Annotated[tuple[Step, ...], Meta(max_length=32)] = ()
    gates: Annotated[tuple[Gate, ...], Meta(max_length=32)] = ()


class ModelSpec(Spec, frozen=True):
    """The whole ``spec``."""

    algorithm: Algorithm
    source: Source = Source()
    snapshots: Snapshots = Snapshots()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What Sluice reads of Kubernetes' object metadata; the rest is passed over."""

    name: Name
    namespace: Name = "default"


class RecommenderModel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A RecommenderModel as applied with kubectl or given to ``sluice up``."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: ModelSpec

    @property
    def key(self) -> str:
        """Return ``<namespace>.<name>``, which owns consumer groups, checkpoints, catalog and evidence."""
        return f"{self.metadata.namespace}.{self.metadata.name}"


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Return a duration such as ``500ms``, ``90s``, ``10m`` or ``2h`` in seconds."""
    digits = duration.rstrip("smh")
    return int(digits) * _UNITS[duration[len(digits) :]]


def spec_hash(spec: ModelSpec) -> str:
    """Return what a snapshot is cut under: equal for specs with equal algorithm and source.

    Serving, snapshot and rollout settings may change without making a snapshot unfit. A default counts as
    the same whether it was left out or written down (as a Kubernetes API server does).
    """
    document = msgspec.json.encode([_chosen(spec.algorithm), _chosen(spec.source)], order="sorted")
    return blake2b(document, digest_size=8).hexdigest()


def _chosen(part: Spec) -> dict[str, object]:
    """Return the fields that differ from their defaults; ``omit_defaults`` misses equal strings."""
    chosen = {}
    for field in msgspec.structs.fields(part):
        made = field.default_factory is not msgspec.NODEFAULT
        value = getattr(part, field.name)
        if value != (field.default_factory() if made else field.default):
            chosen[field.encode_name] = value
    return chosen
