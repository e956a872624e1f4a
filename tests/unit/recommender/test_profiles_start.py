"""A profiles process that is started during an outage waits for its end, as one does that runs already."""

import threading
from pathlib import Path

import pytest

from sluice.backing import Backing
from sluice.errors import SluiceError, StorageUnavailable
from sluice.lifetime import Lifetime
from sluice_recommender.profiles import worker
from sluice_recommender.profiles.process import ProfilesProcess
from sluice_recommender.settings import ProfilesSettings

MODEL = b"""
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec: {algorithm: {type: GMF}}
"""


class Outage:
    """Makes joining the group fail so often; ``opened`` and ``closed`` count logs."""

    def __init__(self, error: SluiceError, failures: int) -> None:
        self.error, self.failures, self.opened, self.closed = error, failures, 0, 0

    def backing(self, settings: ProfilesSettings) -> Backing:
        made, outage = Backing(settings), self

        class Log:
            def __init__(self, log):
                self._log = log

            def __getattr__(self, name):
                return getattr(self._log, name)

            def join(self, *arguments):
                if outage.opened <= outage.failures:
                    raise outage.error
                return self._log.join(*arguments)

            def close(self):
                outage.closed += 1
                self._log.close()

        def log(source):
            outage.opened += 1
            return Log(Backing.log(made, source))

        made.log = log
        return made


def settings(folder: Path) -> ProfilesSettings:
    (folder / "model.yaml").write_bytes(MODEL)
    return ProfilesSettings(home=str(folder), model_file=str(folder / "model.yaml"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[ProfilesProcess]:
    """The processes that came to run."""
    running: list[ProfilesProcess] = []
    monkeypatch.setattr(ProfilesProcess, "run", lambda self, stopping: running.append(self))
    monkeypatch.setattr(worker, "PAUSE_S", 0.0)
    return running


def test_a_log_that_does_not_answer_is_waited_for(tmp_path: Path, monkeypatch, ran) -> None:
    outage = Outage(StorageUnavailable("no broker answers"), 3)
    monkeypatch.setattr(worker, "Backing", outage.backing)
    worker.run(settings(tmp_path), Lifetime())
    assert len(ran) == 1
    assert (outage.opened, outage.closed) == (4, 3), "what failed is given back"


def test_what_no_waiting_mends_is_told_at_once(tmp_path: Path, monkeypatch, ran) -> None:
    outage = Outage(SluiceError("topics of one source need equally many partitions"), 3)
    monkeypatch.setattr(worker, "Backing", outage.backing)
    with pytest.raises(SluiceError, match="equally many"):
        worker.run(settings(tmp_path), Lifetime())
    assert ran == []


def test_who_is_told_to_stop_waits_no_longer() -> None:
    stopping = threading.Event()

    def build() -> ProfilesProcess:
        stopping.set()
        raise StorageUnavailable("no broker answers")

    assert worker.wait_for(build, stopping) is None
