"""The models this process answers for, by key and by name."""

from collections.abc import Sequence

from sluice.errors import SluiceError
from sluice_recommender.api.answers import Recommendations
from sluice_recommender.api.asking import Ask
from sluice_recommender.api.recommender import Recommender
from sluice_recommender.api.trial import Trial


class UnknownModel(SluiceError):
    """No model of that name is served here."""


class Models:
    """Where none is named, the first one answers, or the one that an experiment deals the user to."""

    def __init__(self, recommenders: Sequence[Recommender], trial: Trial | None = None) -> None:
        self._first, self._trial = recommenders[0], trial
        self._by_key = {each.model: each for each in recommenders}
        names = [each.model.partition(".")[2] for each in recommenders]
        self._by_name = {
            name: each for name, each in zip(names, recommenders, strict=True) if names.count(name) == 1
        }

    def recommend(self, ask: Ask, request_id: str) -> Recommendations:
        """Answer an ask; raises :class:`UnknownModel`."""
        if ask.model is not None or self._trial is None:
            return self.find(ask.model).recommend(ask, request_id)
        return self.find(self._trial.model_for(ask, request_id)).recommend(ask, request_id, self._trial)

    def find(self, name: str | None) -> Recommender:
        """Return a model by ``<namespace>.<name>``, or by its name alone where that is unique.

        Raises :class:`UnknownModel`, naming the known ones.
        """
        if name is None:
            return self._first
        found = self._by_key.get(name) or self._by_name.get(name)
        if found is None:
            known = ", ".join(self._by_key)
            raise UnknownModel(f"model {name[:80]!r} is unknown; known are: {known}")
        return found
