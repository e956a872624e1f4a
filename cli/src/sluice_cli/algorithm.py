"""What only a learner can tell about a model: whether it is built in, and whether its parameters are sound."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sluice.errors import InvalidModel
from sluice.model import RecommenderModel


def check(model: RecommenderModel) -> None:
    """Raise :class:`InvalidModel` naming each parameter that the model's learner refuses.

    Finds nothing where the trainer is not installed.
    """
    if find_spec("sluice_trainer") is None:
        return
    from sluice_trainer.learners import registry

    algorithm = model.spec.algorithm
    registry.create(algorithm.type, algorithm.parameters, seed=0)


class Checking:
    """``sluice rollout lint FILES`` in a child, because the learners' libraries take seconds and much memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        command = [sys.executable, "-m", "sluice_cli.main", "rollout", "lint", *map(str, files)]
        self._child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def wait(self) -> None:
        """Wait for the end; raises :class:`InvalidModel` with what was found."""
        _, said = self._child.communicate()
        if self._child.returncode == 2:
            raise InvalidModel(said.strip().splitlines())

    def stop(self) -> None:
        """End it, if it has not ended yet."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()
