"""The experiment between models that this process takes part in, and what it counted."""

import time

from sluice.experiment import Experiment
from sluice_recommender.api.asking import Ask, subject_of
from sluice_recommender.api.routes import Deal
from sluice_recommender.api.tally import Tally


class Trial:
    """Deals users and sessions to models and counts their requests as evidence, by model."""

    def __init__(self, experiment: Experiment, tally: Tally) -> None:
        self._experiment, self._tally = experiment, tally

    @property
    def name(self) -> str:
        """The experiment's name, as answers carry it."""
        return self._experiment.name

    def model_for(self, ask: Ask, request_id: str) -> str:
        """Return the key of the model that answers an ask which names none."""
        return self._experiment.model_for(subject_of(ask, request_id))

    def count(self, model: str, *, error: bool, started: float) -> None:
        """Count one request; an error is one that no snapshot answered. ``started`` is :func:`time.perf_counter`."""
        deal = Deal("stable", model, None, self._experiment.rollout)
        self._tally.count(deal, error=error, milliseconds=(time.perf_counter() - started) * 1e3)
