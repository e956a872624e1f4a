"""The learners by name. Adding one: its file, its line here, its section in docs/reference/algorithms.md."""

from collections.abc import Callable, Mapping
from typing import Final

from sluice.errors import InvalidModel
from sluice.model import AlgorithmType, Scalar
from sluice_trainer.learners.covisitation import CoVisitation
from sluice_trainer.learners.gmf import GMF
from sluice_trainer.learners.popular import Popular
from sluice_trainer.learners.protocol import Learner

REGISTRY: Final[Mapping[AlgorithmType, Callable[[Mapping[str, Scalar], int], Learner]]] = {
    AlgorithmType.POPULAR: Popular.from_parameters,
    AlgorithmType.CO_VISITATION: CoVisitation.from_parameters,
    AlgorithmType.GMF: GMF.from_parameters,
}


def create(kind: AlgorithmType, parameters: Mapping[str, Scalar], seed: int) -> Learner:
    """Return a fresh learner; raises :class:`InvalidModel` naming the parameter that is wrong."""
    if kind not in REGISTRY:
        known = ", ".join(REGISTRY)
        raise InvalidModel(
            [f"spec.algorithm.type: {kind} is not built into this trainer; use one of {known}"]
        )
    return REGISTRY[kind](parameters, seed)
