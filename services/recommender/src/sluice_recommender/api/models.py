"""The models this process answers for, by key and by name."""

from collections.abc import Sequence

from sluice.errors import SluiceError
from sluice_recommender.api.recommender import Recommender


class UnknownModel(SluiceError):
    """No model of that name is served here."""


class Models:
    """The first one answers where none is named."""

    def __init__(self, recommenders: Sequence[Recommender]) -> None:
        self._first = recommenders[0]
        self._by_key = {each.model: each for each in recommenders}
        names = [each.model.partition(".")[2] for each in recommenders]
        self._by_name = {
            name: each for name, each in zip(names, recommenders, strict=True) if names.count(name) == 1
        }

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
