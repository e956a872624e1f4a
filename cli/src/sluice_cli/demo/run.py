"""One demo run: history in, training, the stream, the gated rollouts, the report."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import yaml
from rich.console import Console

from sluice import models
from sluice.backing import Backing
from sluice.errors import InvalidModel, InvalidSetting, SluiceError
from sluice.events import Partition
from sluice.model import AlgorithmType, RecommenderModel
from sluice.topics import profiles_group, topics_of
from sluice_cli import connections, datasets
from sluice_cli.datasets import Dataset
from sluice_cli.demo.client import Client
from sluice_cli.demo.example import Example
from sluice_cli.demo.ground import Ground, ground
from sluice_cli.demo.options import DemoOptions
from sluice_cli.demo.page import write_page
from sluice_cli.demo.record import Record, summarize
from sluice_cli.demo.replay import Replayer
from sluice_cli.demo.table import show_summary
from sluice_cli.demo.view import View, open_view
from sluice_cli.demo.watch import Watcher
from sluice_cli.platform import Platform
from sluice_cli.ports import check_free
from sluice_operator.embedded import EmbeddedRollout

HISTORY_SHARE: Final = 0.7
TRAINING_S: Final = 120.0
CATCH_UP_S: Final = 60.0
ROUTED_S: Final = 2.0
LEAST_EVENTS: Final = 10
STOPPING: Final = "The platform stops now; without --once it serves on, and the lines above answer."
DEFAULT_LIMITS: Final = {"ader-yoochoose": 60_000}
"""The larger sets, cut so that a run takes minutes."""


class DemoFailed(SluiceError):
    """The run could not be finished; the message says where to look."""


def run(options: DemoOptions) -> None:
    """Run the demo and keep serving until Ctrl-C unless ``once``; raises :class:`SluiceError`."""
    console = Console()
    began = time.monotonic()
    if options.port:
        check_free(options.port)  # before a data set is fetched for nothing
    limit = options.limit or DEFAULT_LIMITS.get(options.source)
    dataset, note = datasets.resolve(
        options.source, datasets.default_directory(), datasets.Options(limit=limit)
    )
    console.print(note, markup=False)
    loaded_s = time.monotonic() - began
    if len(dataset.interactions) < LEAST_EVENTS:
        raise InvalidSetting(
            f"{dataset.name} holds {len(dataset.interactions)} interactions, the demo needs at least"
            f" {LEAST_EVENTS}; choose another --dataset, --events or --limit"
        )
    with _home(options.home) as home, _ground(options, home, console) as standing:
        model, model_file = _model(options, home, standing.suffix)
        platform = Platform(home, model_file, options.port, standing.settings)
        connections.keep(platform.home, standing.settings)
        try:
            demo = _Demo(options, dataset, note, model, platform, time.monotonic() - loaded_s)
            record = demo.run(console)
            last = dataset.interactions[-1]
            _report(record, options, console, Example(last.user_id, last.item_id))
            if demo.stopped:
                console.print("Stopped early; the platform ends too.")
            elif options.once:
                console.print(STOPPING)
            else:
                _serve_on(console)
        finally:
            platform.stop()


class _Demo:
    """The parts of one run, wired."""

    def __init__(
        self,
        options: DemoOptions,
        dataset: Dataset,
        note: str,
        model: RecommenderModel,
        platform: Platform,
        began: float,
    ) -> None:
        self.options, self.dataset, self.platform, self.began = options, dataset, platform, began
        self.history = int(len(dataset.interactions) * HISTORY_SHARE)
        self.record = Record(
            dataset=dataset.name,
            note=note,
            algorithm=model.spec.algorithm.type.value,
            history=self.history,
            total=len(dataset.interactions),
            api=platform.api,
        )
        self.client = Client(platform.api)
        self.stopped = False
        titles = {item.item_id: item.title for item in dataset.items if item.title}
        self.replayer = Replayer(
            self.client,
            speed=options.speed,
            titles=titles,
            probes=model.spec.algorithm.type is not AlgorithmType.POPULAR,
            stopped=lambda: self.stopped,
        )
        self.backing, self.key = Backing(connections.settings_of(platform.home)), model.key
        self.rollout = EmbeddedRollout(self.backing.home.rollout(self.key))
        self._source = model.spec.source.name
        self._topics, self._log = topics_of(self._source), self.backing.log(self._source)

    def run(self, console: Console) -> Record:
        """Run up to the end of the stream and return the record."""
        view = open_view(console)
        watcher = self._watcher(view)
        try:
            self._run(watcher)
        except KeyboardInterrupt:
            self.stopped = True
            watcher.tell("Interrupted", "stopping early; the report covers what was streamed")
        finally:
            watcher.stop()
            view.close()
            self._log.close()
            self.backing.close()
        self.record.events = self.history + self.replayer.streamed
        return self.record

    def _run(self, watcher: Watcher) -> None:
        self.platform.start()
        watcher.start()
        self._stage("loading history")
        self.client.post_items(self.dataset.items)
        self.client.post_interactions(self.dataset.interactions[: self.history])
        ends = self._log.end_offsets(self._topics.interactions)
        self._stage("training")
        self.platform.start_trainer(warmup_events=1)  # all of the history is there
        self._await_first_answer()
        watcher.tell("FirstAnswer", f"{self.record.seconds_to_first_answer:.1f} s after the start")
        self._await_profiles(ends)
        self._stage("streaming")
        self.replayer.run(self.dataset.interactions[self.history :])
        self._stage("catching up")
        posted = self.history + self.replayer.streamed
        late = "the trainer did not catch up; see its log"
        _until(lambda: watcher.status.taken >= posted, CATCH_UP_S, lambda: late)
        self._stage("serving")

    def _await_first_answer(self) -> None:
        """Wait for an answer from a snapshot; where the user has seen all it could find, a popular one does."""
        user = self.dataset.interactions[self.history - 1].user_id

        def answered() -> bool:
            answer, state = self.client.recommendations(user), self.rollout.read()[1]
            ended = state.rollout_ended_at
            return answer.snapshot is not None or (ended is not None and time.time() - ended > ROUTED_S)

        _until(answered, TRAINING_S, self._why_no_answer)
        self.record.seconds_to_first_answer = time.monotonic() - self.began

    def _await_profiles(self, ends: Mapping[Partition, int]) -> None:
        """Wait until every user's profile holds the history; a click counts within a second from then on."""
        group = profiles_group(self._source)

        def kept() -> bool:
            positions = self._log.committed(group)
            return all(positions.get(partition, 0) >= end for partition, end in ends.items())

        late = f"the profiles do not hold the history yet; see {self.platform.home / 'logs'}"
        _until(kept, TRAINING_S, lambda: late)

    def _why_no_answer(self) -> str:
        _, state = self.rollout.read()
        return f"no snapshot answers: {state.message}; see {self.platform.home / 'logs'}"

    def _stage(self, stage: str) -> None:
        self.record.stage = stage

    def _watcher(self, view: View) -> Watcher:
        return Watcher(
            self.record,
            view,
            replayer=self.replayer,
            rollout=self.rollout,
            catalog=self.backing.catalog(self.key),
            store=self.backing.snapshots(self.key),
            trainer_status=self.platform.trainer_status,
            sabotages=self.options.sabotage,
        )


def _until(holds: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise DemoFailed(otherwise())
        time.sleep(0.05)


def _report(record: Record, options: DemoOptions, console: Console, example: Example) -> None:
    summary = summarize(record)
    write_page(record, options.page, example)
    if options.report is not None:
        options.report.write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    show_summary(record, summary, options.page, console, example)


def _serve_on(console: Console) -> None:
    console.print("Still serving; Ctrl-C stops everything.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)


@contextlib.contextmanager
def _home(home: Path | None) -> Iterator[Path]:
    if home is not None:
        if home.exists() and any(home.iterdir()):
            raise InvalidSetting(f"--home {home} is not empty; name a new folder")
        home.mkdir(parents=True, exist_ok=True)
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as temporary:
        yield Path(temporary)


@contextlib.contextmanager
def _ground(options: DemoOptions, home: Path, console: Console) -> Iterator[Ground]:
    if not options.real:
        with ground(options, home) as standing:
            yield standing
        return
    console.print("Starting Kafka, MongoDB and Redis; the first time they are fetched.", markup=False)
    before = time.monotonic()
    with ground(options, home) as standing:
        console.print(f"They run after {time.monotonic() - before:.1f} s.", markup=False)
        yield standing


def _model(options: DemoOptions, home: Path, suffix: str) -> tuple[RecommenderModel, Path]:
    """Return the model of this run, also as the file its services read: the sample, its algorithm replaced.

    ``suffix`` ends the names of the model and its source.
    """
    document = yaml.safe_load((options.model or sample()).read_bytes())
    if options.model is None:
        document["spec"]["algorithm"] = {"type": AlgorithmType(options.algorithm).value}
    if suffix:
        document["metadata"]["name"] += suffix
        source = document["spec"].setdefault("source", {})
        source["name"] = source.get("name", "shop") + suffix
    path = home / "model.yaml"
    path.write_text(yaml.safe_dump(document))
    return models.load(path), path


def sample() -> Path:
    """Return manifests/samples/demo.yaml of the checkout that the command is installed from."""
    path = Path(__file__).parents[4] / "manifests" / "samples" / "demo.yaml"
    if not path.exists():
        raise InvalidModel(["the demo's own RecommenderModel is missing; give one with -f"])
    return path
