"""The consume loop on the embedded adapters: journal, replay, checkpoint, snapshots."""

import os
import shutil
import signal
import threading
import time

import msgspec
import numpy as np
import pytest
from structlog.testing import CapturingLogger, capture_logs

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.events import NewRecord
from sluice.model import RecommenderModel
from sluice.records import Forget, Interaction, encode
from sluice.routing import Routing
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.verify import verify
from sluice.topics import topics_of, trainer_group
from sluice_trainer import checkpoint, cutting, outage, planning, saving
from sluice_trainer import loop as loops
from sluice_trainer.fencing import newest_folder
from sluice_trainer.forked import ChildDied
from sluice_trainer.loop import Loop
from sluice_trainer.outage import Stopped
from sluice_trainer.trainer import Trainer

MODEL = msgspec.convert(
    {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "m"},
        "spec": {"algorithm": {"type": "CoVisitation"}, "snapshots": {"events": 60}},
    },
    RecommenderModel,
)
TOPIC = topics_of("shop").interactions


class World:
    """One home folder with a growing stream; opens loops on it."""

    def __init__(self, folder) -> None:
        self.home = Home(folder)
        self.log, self.database = self.home.log("shop"), self.home.model(MODEL.key)
        self.catalog, self.routing = EmbeddedCatalog(self.database), EmbeddedRouting(self.database)
        self.chance, self.sent = np.random.default_rng(1), 0
        self.loops: list[Loop] = []

    def send(self, n: int) -> None:
        made = []
        for _ in range(n):
            user, item = f"u{self.chance.integers(20)}", f"i{self.chance.integers(40)}"
            event = Interaction(user_id=user, item_id=item, event_id=f"e{self.sent}")
            made.append(NewRecord(user.encode(), encode(event)))
            self.sent += 1
        self.log.append(TOPIC, made)

    def loop(self, log=None, model=MODEL, **changed) -> Loop:
        made = Loop(
            Trainer(model, seed=3),
            folder=changed.get("folder") or self.home.trainer(MODEL.key),
            store=FolderStore(self.home.snapshots(MODEL.key)),
            log=log or self.log,
            catalog=changed.get("catalog") or self.catalog,
            evidence=changed.get("evidence") or EmbeddedEvidence(self.database),
            routing=self.routing,
            warmup_events=changed.get("warmup", 50),
            checkpoint_s=changed.get("checkpoint_s", 1e9),
            fork=changed.get("fork", False),
            stopping=changed.get("stopping"),
        )
        self.loops.append(made)
        return made

    def roll(self) -> None:
        """Make the newest snapshot stable and candidate, so that plans carry routing and give evidence."""
        newest = self.catalog.entries()[-1].id
        self.routing.publish(
            Routing(epoch=1, rollout="r", stable=newest, candidate=newest, weight=0, renewed=0.0)
        )

    @property
    def folder(self):
        """Where the newest trainer keeps its journals and checkpoints."""
        return newest_folder(self.home.trainer(MODEL.key))


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(loops, "POLL_S", 0.01)
    monkeypatch.setattr(planning, "POLL_S", 0.01)
    monkeypatch.setattr(planning, "BATCH", 32)
    monkeypatch.setattr(planning, "CATCH_UP", 64)
    monkeypatch.setattr(loops, "RETRY_S", 0.01)
    monkeypatch.setattr(outage, "RETRY_S", 0.01)
    world = World(tmp_path)
    yield world
    for loop in world.loops:
        abandon(loop)


def state_of(loop: Loop) -> tuple:
    made = loop.trainer.checkpoint()
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in made.arrays.items()}
    return made.position, made.users, made.items, arrays


def drain(loop: Loop) -> None:
    while loop.turn():
        pass


def abandon(loop: Loop) -> None:
    """What a killed process leaves: open files closed, children gone, nothing saved."""
    for task in (loop._saver._pending, loop._cutter._pending):
        if task is not None:
            task[1].kill()
    loop._journal.close()


def settle(loop: Loop) -> None:
    """Wait for the children, without learning more."""
    deadline = time.monotonic() + 30.0
    while loop._cutter.busy or loop._saver._pending is not None:
        assert not loop.turn()
        assert time.monotonic() < deadline


def learn_for_ever(loop: Loop) -> None:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        loop.turn()


def with_spec(**changed) -> RecommenderModel:
    document = msgspec.to_builtins(MODEL)
    document["spec"] |= changed
    return msgspec.convert(document, RecommenderModel)


def test_training_begins_once_the_log_holds_enough(world):
    world.send(49)
    loop = world.loop()
    assert not loop.turn()
    world.send(1)
    assert loop.turn()
    assert loop.trainer.position.fitted
    assert loop.trainer.position.interactions == 50


def test_every_accepted_event_is_learned_once_and_the_position_is_committed_for_lag(world):
    world.send(300)
    loop = world.loop()
    loop.turn()
    world.send(200)
    drain(loop)
    loop.save()
    assert loop.trainer.position.interactions == 500
    assert loop.trainer.position.duplicates == 0
    assert world.log.committed(trainer_group(MODEL.key)) == world.log.end_offsets(TOPIC)


def test_a_replay_of_the_journal_ends_bit_equal(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    for _ in range(4):
        world.send(50)
        drain(loop)
    before = state_of(loop)
    assert before[0].sequence > 8
    evidence = EmbeddedEvidence(world.database).totals("r", 0)
    entries = world.catalog.entries()
    abandon(loop)
    again = world.loop()
    assert state_of(again) == before
    assert EmbeddedEvidence(world.database).totals("r", 0) == evidence
    assert world.catalog.entries() == entries
    assert evidence.paired["mrr"].n > 0


def test_a_damaged_newest_checkpoint_falls_back_to_the_older_one_with_its_journals(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    for _ in range(3):
        world.send(70)
        drain(loop)
        loop.save()
    world.send(40)
    drain(loop)
    before = state_of(loop)
    abandon(loop)
    newest = max(world.folder.glob("checkpoint-*"))
    (newest / "popular.counts.npy").write_bytes(b"damaged")
    again = world.loop()
    assert state_of(again) == before
    again.save()
    abandon(again)
    assert state_of(world.loop()) == before


def test_if_every_checkpoint_is_damaged_the_trainer_stops_with_the_fix(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    abandon(loop)
    for path in world.folder.glob("checkpoint-*"):
        (path / "state.json").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="restore the trainer's volume"):
        world.loop()


class Interleaving:
    """A log whose reads mix the partitions, as a Kafka client's do."""

    def __init__(self, log) -> None:
        self._log = log

    def read(self, positions, limit, timeout_s):
        found = self._log.read(positions, limit, timeout_s)
        parts = [[each for each in found if each.partition == part] for part in reversed(list(positions))]
        mixed = []
        while any(parts):
            mixed.extend(part.pop(0) for part in parts if part)
        return mixed

    def __getattr__(self, name):
        return getattr(self._log, name)


def test_in_whatever_order_the_log_mixes_its_partitions_a_replay_ends_bit_equal(world):
    world.send(100)
    loop = world.loop(log=Interleaving(world.log))
    loop.turn()
    world.send(150)
    drain(loop)
    abandon(loop)
    assert state_of(world.loop()) == state_of(loop)


class Forgetful:
    """A log that has dropped what it held before an offset."""

    def __init__(self, log) -> None:
        self._log = log

    def read(self, positions, limit, timeout_s):
        return []

    def __getattr__(self, name):
        return getattr(self._log, name)


def test_a_plan_whose_records_are_gone_stops_the_trainer_instead_of_being_skipped(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.send(50)
    drain(loop)
    abandon(loop)
    with pytest.raises(StorageUnavailable, match="retention"):
        world.loop(log=Forgetful(world.log))


class FullDisk:
    """A journal that refuses so many plans."""

    def __init__(self, journal, refusals: int) -> None:
        self._journal, self.refusals = journal, refusals

    def append(self, plan) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StorageUnavailable("the disk is full")
        self._journal.append(plan)

    def __getattr__(self, name):
        return getattr(self._journal, name)


def test_what_could_not_be_journaled_is_learned_once_when_it_can_be(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.send(100)
    loop._journal = FullDisk(loop._journal, refusals=3)
    stopping = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stopping,))
    thread.start()
    caught_up = threading.Event()
    for _ in range(1_000):
        if loop.trainer.position.interactions >= 200 or caught_up.wait(0.01):
            break
    stopping.set()
    thread.join(20)
    assert loop._journal is not None
    assert loop.trainer.position.interactions == 200
    assert state_of(world.loop()) == state_of(loop)


def test_snapshots_are_sound_entered_in_order_and_name_their_parent(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    for _ in range(4):
        world.send(64)
        drain(loop)
    entries = world.catalog.entries()
    assert len(entries) >= 4
    assert [entry.parent for entry in entries] == [None, *(entry.id for entry in entries[:-1])]
    store = world.home.snapshots(MODEL.key)
    for entry in entries:
        made = verify(store / entry.id, entry.digest)
        assert (made.interactions, made.spec_hash) == (entry.interactions, loop.trainer.position.spec_hash)
        assert sum(end - start for start, end in made.offsets.values()) == made.interactions
        assert made.bytes == entry.bytes
    assert {path.name for path in store.iterdir()} == {entry.id for entry in entries}


def test_a_released_snapshot_is_swept_away_at_the_next_checkpoint_and_no_other(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.send(70)
    drain(loop)
    first, *others = [entry.id for entry in world.catalog.entries()]
    world.catalog.release({first}, 1)
    loop.save()
    assert [entry.id for entry in world.catalog.entries()] == others
    assert {path.name for path in world.home.snapshots(MODEL.key).iterdir()} == set(others)


def test_an_older_trainer_is_refused_its_next_snapshot(world):
    world.send(100)
    older = world.loop()
    world.loop()
    with pytest.raises(StaleEpoch):
        older.turn()
    assert world.catalog.entries() == []


def test_a_replaced_trainer_with_a_folder_of_its_own_tells_the_platform_nothing_more(world, tmp_path):
    world.send(100)
    older = world.loop(folder=tmp_path / "own")
    older.turn()
    world.roll()
    world.send(20)
    drain(older)
    older.save()
    group, evidence = trainer_group(MODEL.key), EmbeddedEvidence(world.database)
    noted, counted, entries = world.log.committed(group), evidence.totals("r", 0), world.catalog.entries()
    world.loop(warmup=1 << 30)
    world.send(100)
    with pytest.raises(StaleEpoch):
        drain(older)
    for _ in range(2):
        with pytest.raises(StaleEpoch):
            older.turn()
    with pytest.raises(StaleEpoch):
        older.save()
    assert world.log.committed(group) == noted
    assert evidence.totals("r", 0) == counted
    assert world.catalog.entries() == entries


class Hooked:
    """A port that calls ``then`` after each call of one of its methods."""

    def __init__(self, port, method: str, then) -> None:
        self._port, self._method, self._then = port, method, then

    def __getattr__(self, name):
        asked = getattr(self._port, name)
        if name != self._method:
            return asked

        def hooked(*arguments):
            answer = asked(*arguments)
            self._then()
            return answer

        return hooked


def test_a_trainer_paused_after_its_claim_deletes_no_snapshot_of_the_one_that_replaced_it(world, tmp_path):
    world.send(100)
    first = world.loop()
    first.turn()
    abandon(first)
    store = world.home.snapshots(MODEL.key)
    entered, published = store / world.catalog.entries()[0].id, store / "published-not-entered"

    def take_over() -> None:
        world.loop(folder=tmp_path / "own")
        shutil.copytree(entered, published)

    paused = world.loop(catalog=Hooked(world.catalog, "claim", take_over))
    assert published.is_dir()
    with pytest.raises(StaleEpoch):
        paused.turn()
    assert published.is_dir()


def test_what_was_never_entered_is_deleted_by_the_next_trainer_also_while_there_is_nothing_to_learn(world):
    world.send(100)
    first = world.loop()
    first.turn()
    abandon(first)
    store = world.home.snapshots(MODEL.key)
    (store / "never-entered").mkdir()
    again = world.loop()
    assert not again.turn()
    assert {path.name for path in store.iterdir()} == {entry.id for entry in world.catalog.entries()}


def test_a_replaced_trainer_says_so_once_saves_nothing_and_leaves(world):
    world.send(100)
    older = world.loop()
    older.turn()
    world.send(20)
    newer = world.loop()
    left = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    with capture_logs() as said, pytest.raises(StaleEpoch):
        older.run(threading.Event())
    assert [line["event"] for line in said] == ["this trainer was replaced, stopping"]
    assert {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()} == left
    drain(newer)
    assert newer.trainer.position.interactions == 120


def test_a_trainer_asked_to_stop_once_it_was_replaced_does_not_save(world):
    world.send(100)
    older = world.loop()
    older.turn()
    world.loop()
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StaleEpoch):
        older.run(stopping)
    assert [path.name for path in world.folder.glob("checkpoint-*")] == ["checkpoint-000000000001"]


def test_a_checkpoint_holds_the_epoch_of_the_trainer_that_wrote_it(world):
    world.send(100)
    for epoch in (1, 2):
        loop = world.loop()
        loop.turn()
        world.send(10)
        loop.turn()
        loop.save()
        assert checkpoint.newest(world.folder).epoch == epoch
        abandon(loop)


def test_the_end_does_not_wait_for_ever_for_a_checkpoint_that_hangs(world, monkeypatch):
    world.send(100)
    loop = world.loop(fork=True)
    loop.turn()
    settle(loop)
    loop.save()
    world.send(10)
    loop._saver.hurry()
    with monkeypatch.context() as patch:
        patch.setattr(saving.checkpoint, "write", lambda *_: time.sleep(1e6))
        while loop._saver._pending is None:
            loop.turn()
            loop._saver.hurry()
    child = loop._saver._pending[1]._pid
    monkeypatch.setattr(loops, "LAST_SAVE_S", 0.01)
    loop.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert state_of(world.loop()) == state_of(loop)


def test_stopping_saves_what_was_learned(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.send(20)
    drain(loop)
    stopping = threading.Event()
    stopping.set()
    loop.run(stopping)
    again = world.loop()
    assert state_of(again) == state_of(loop)
    assert again._journal.plans == []


def test_a_checkpoint_written_at_the_end_is_not_denied_because_its_offsets_could_not_be_noted(world):
    def away() -> None:
        raise StorageUnavailable("the log is away")

    world.send(100)
    loop = world.loop()
    loop.turn()
    world.send(20)
    drain(loop)
    loop._log = Hooked(loop._log, "commit", away)
    stopping = threading.Event()
    stopping.set()
    with capture_logs() as said:
        loop.run(stopping)
    assert not [line for line in said if line["log_level"] == "error"]
    assert any("the log is away" in line.get("reason", "") for line in said)
    again = world.loop()
    assert again._journal.plans == []
    assert state_of(again) == state_of(loop)


def left_in_the_middle(world) -> tuple:
    """Let a trainer be killed with plans, evidence and a cut to do again; return the state it had."""
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    for _ in range(3):
        world.send(50)
        drain(loop)
    last = world.catalog.entries()[-1].id
    world.catalog.release({last}, 1)
    world.catalog.remove(last)  # as if it had died between writing and entering it
    abandon(loop)
    return state_of(loop)


class Away:
    """A port one of whose methods fails so many times."""

    def __init__(self, port, method: str, times: int) -> None:
        self._port, self._method, self.times = port, method, times

    def __getattr__(self, name):
        if name == self._method and self.times:
            self.times -= 1
            return self._fail
        return getattr(self._port, name)

    def _fail(self, *_):
        raise StorageUnavailable("away")


@pytest.mark.parametrize(
    ("port", "method"),
    [
        ("catalog", "claim"),
        ("log", "read"),
        ("evidence", "append"),
        ("catalog", "get"),
        ("catalog", "commit"),
    ],
)
@pytest.mark.parametrize("fork", [False, True])
def test_a_trainer_started_while_a_storage_is_away_waits_and_ends_bit_equal(world, port, method, fork):
    before, known = left_in_the_middle(world), world.catalog.entries()
    ports = {"catalog": world.catalog, "log": world.log, "evidence": EmbeddedEvidence(world.database)}
    counted = ports["evidence"].totals("r", 0)
    with capture_logs() as said:
        away = Away(ports[port], method, 3)
        again = world.loop(stopping=threading.Event(), fork=fork, **{port: away})
    assert away.times == 0
    events = [line["event"] for line in said]
    assert events.count("storage unavailable, waiting") == events.count("storage available again") == 1
    assert state_of(again) == before
    assert world.catalog.entries()[:-1] == known
    assert EmbeddedEvidence(world.database).totals("r", 0) == counted


def test_a_trainer_asked_to_stop_while_it_waits_stops(world):
    left_in_the_middle(world)
    stopping = threading.Event()
    away = Away(world.log, "read", 1 << 30)
    timer = threading.Timer(0.05, stopping.set)
    timer.start()
    with pytest.raises(Stopped):
        world.loop(log=away, stopping=stopping)
    timer.join()


def test_a_trainer_asked_to_stop_while_it_replays_stops_between_plans_and_loses_nothing(world):
    before, stopping, reads = left_in_the_middle(world), threading.Event(), []

    def stop_at_the_third() -> None:
        reads.append(1)
        if len(reads) == 3:
            stopping.set()

    with pytest.raises(Stopped):
        world.loop(log=Hooked(world.log, "read", stop_at_the_third), stopping=stopping)
    assert len(reads) <= 4, "the plan begun is read to its end, no other is begun"
    assert state_of(world.loop()) == before


def test_a_trainer_asked_to_stop_while_its_replay_waits_for_a_snapshot_stops(world, monkeypatch):
    before, stopping, tasks = left_in_the_middle(world), threading.Event(), []
    start = cutting.start

    def started(work, fork):
        tasks.append(start(work, fork=fork))
        stopping.set()
        return tasks[-1]

    with monkeypatch.context() as patch:
        patch.setattr(cutting.writer, "write", lambda *_: time.sleep(1e6))
        patch.setattr(cutting, "start", started)
        with pytest.raises(Stopped):
            world.loop(fork=True, stopping=stopping)
    assert [task.ended() for task in tasks] == [True]
    assert state_of(world.loop()) == before


def test_children_write_checkpoints_and_snapshots_while_learning_goes_on(world):
    world.send(100)
    loop = world.loop(fork=True, checkpoint_s=0.0)
    loop.turn()
    for _ in range(8):
        world.send(40)
        deadline = time.monotonic() + 30.0
        while loop.trainer.position.interactions < world.sent:
            loop.turn()
            assert time.monotonic() < deadline
    stopping = threading.Event()
    stopping.set()
    loop.run(stopping)
    assert len(world.catalog.entries()) >= 5
    for entry in world.catalog.entries():
        verify(world.home.snapshots(MODEL.key) / entry.id, entry.digest)
    again = world.loop()
    assert again._journal.plans == []
    assert state_of(again) == state_of(loop)


def test_a_checkpoint_whose_child_dies_is_made_again_and_nothing_is_lost(world, monkeypatch):
    world.send(100)
    loop = world.loop(fork=True)
    with monkeypatch.context() as patch:
        patch.setattr(saving.checkpoint, "write", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        loop.turn()
        for _ in range(5):
            world.send(10)
            drain(loop)
            settle(loop)
            loop._saver.hurry()
    assert not list(world.folder.glob("checkpoint-*"))
    assert len(list(world.folder.glob("journal-*"))) > 2, "the chain stays until a checkpoint is sound"
    world.send(40)
    drain(loop)
    loop.save()
    assert [path.name for path in world.folder.glob("checkpoint-*")]
    assert len(list(world.folder.glob("journal-*"))) == 1
    abandon(loop)
    assert state_of(world.loop()) == state_of(loop)


class Slow:
    """A task that takes its time."""

    def __init__(self, task) -> None:
        self._task, self.asked = task, 0

    def ended(self, timeout_s=0.0):
        if timeout_s:
            self.asked += 1
        return self.asked > 3 and self._task.ended(timeout_s)

    def __getattr__(self, name):
        return getattr(self._task, name)


def slowly(monkeypatch) -> None:
    """Let every snapshot be pending until a turn has waited for it a few times."""
    start = cutting.start
    monkeypatch.setattr(cutting, "start", lambda work, fork: Slow(start(work, fork=fork)))


def test_a_trainer_that_always_has_a_snapshot_pending_still_checkpoints(world, monkeypatch):
    slowly(monkeypatch)
    monkeypatch.setattr(saving, "SHARE", 0)
    world.send(100)
    loop = world.loop(checkpoint_s=1e-3)
    began, begin = [], loop._saver.begin
    monkeypatch.setattr(loop._saver, "begin", lambda *how: (began.append(loop.trainer.position), begin(*how)))
    loop.turn()
    world.send(600)
    deadline = time.monotonic() + 30.0
    while loop.trainer.position.interactions < 700:
        loop.turn()
        assert time.monotonic() < deadline
    assert len([at for at in began if at.interactions < 600]) > 2


def test_a_training_is_checkpointed_soon_but_learning_does_not_wait_for_it(world, monkeypatch):
    slowly(monkeypatch)
    world.send(100)
    loop = world.loop(checkpoint_s=60.0)
    loop.turn()
    world.send(20)
    assert loop._saver.due
    assert loop.turn()
    assert loop._cutter.busy
    assert not loop._saver.overdue


def test_while_a_snapshot_is_waited_for_the_gates_still_hear_from_the_trainer(world, monkeypatch):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    slowly(monkeypatch)
    world.send(200)
    evidence = loop._evidence
    said, append = [], evidence.append
    monkeypatch.setattr(evidence, "append", lambda rows: (said.extend(rows), append(rows)))
    drain(loop)
    assert loop._cut_due
    assert [row.sequence for row in said if row.sequence.startswith("heartbeat:")]


def test_an_idle_trainer_writes_no_checkpoint_and_still_sweeps(world, monkeypatch):
    monkeypatch.setattr(loops, "SWEEP_S", 0.0)
    written, write = [], saving.checkpoint.write
    monkeypatch.setattr(saving.checkpoint, "write", lambda *what: (written.append(1), write(*what))[1])
    monkeypatch.setattr(saving, "SHARE", 0)
    world.send(100)
    loop = world.loop(checkpoint_s=1e-4)
    loop.turn()
    world.send(70)
    drain(loop)
    known = len(written)
    assert known
    for _ in range(5):
        assert not loop.turn()
    assert len(written) == known
    first, *others = [entry.id for entry in world.catalog.entries()]
    world.catalog.release({first}, 1)
    loop.turn()
    assert [entry.id for entry in world.catalog.entries()] == others


class Patient:
    """Takes whatever time it is given and is never done."""

    def __init__(self, clock) -> None:
        self._clock, self.waited = clock, []

    def settled(self, timeout_s=0.0):
        self.waited.append(timeout_s)
        self._clock.now += timeout_s
        return not timeout_s

    def abandon(self) -> None:
        self.waited.append(0.0)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def test_the_end_waits_for_pending_snapshots_only_so_long_in_all(world, monkeypatch):
    world.send(100)
    loop = world.loop()
    loop.turn()
    clock = Clock()
    monkeypatch.setattr(loops, "time", clock)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_cutter", Patient(clock))
        patch.setattr(loop, "_settled", lambda timeout_s: setattr(clock, "now", clock.now + 3.0) or True)
        loop._end()
        assert sum(loop._cutter.waited) == pytest.approx(loops.LAST_CUT_S - 3.0)


def test_a_replay_that_misses_a_snapshot_says_so(world, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(planning, "_LOG", log)
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    world.send(30)
    drain(loop)
    abandon(loop)
    name = world.catalog.entries()[0].id
    shutil.rmtree(world.home.snapshots(MODEL.key) / name)
    (world.home.snapshots(MODEL.key) / "lost+found").touch()  # the volume is mounted
    world.loop()
    call = log.calls[0]  # of the first such plan
    assert call.args == ("replay differs, a snapshot is gone",)
    assert call.kwargs["snapshot"] == name


def test_a_snapshot_whose_child_dies_ends_the_trainer_and_is_cut_by_the_replay(world, monkeypatch):
    world.send(100)
    loop = world.loop(fork=True)
    with monkeypatch.context() as patch:
        patch.setattr(cutting.writer, "write", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(ChildDied):
            learn_for_ever(loop)
    assert not list(world.folder.glob("checkpoint-*")), "none is begun while a snapshot is pending"
    abandon(loop)
    again = world.loop(fork=True)
    assert [entry.id for entry in world.catalog.entries()] == [again.trainer.position.cut_snapshot]
    assert state_of(again) == state_of(loop)


def test_learning_goes_on_while_the_store_is_full_until_another_snapshot_is_due(world, monkeypatch, tmp_path):
    real, full = cutting.writer.write, tmp_path / "full"
    full.touch()

    def write(*arguments):
        if full.exists():
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(cutting.writer, "write", write)
    monkeypatch.setattr(cutting, "RETRY_S", 0.01)
    world.send(100)
    loop = world.loop(fork=True)
    loop.turn()
    world.send(200)
    while loop.turn():
        pass
    behind = loop.trainer.position.interactions
    assert 160 <= behind < 300, "it learned on until 60 events later, not further"
    assert world.catalog.entries() == []
    assert not loop.turn()
    full.unlink()
    deadline = time.monotonic() + 30.0
    while loop.trainer.position.interactions < 300:
        loop.turn()
        assert time.monotonic() < deadline
    settle(loop)
    assert len(world.catalog.entries()) >= 3


def test_a_replay_under_an_edited_spec_still_does_what_was_planned(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    world.send(150)
    drain(loop)
    evidence = EmbeddedEvidence(world.database).totals("r", 0)
    entries = [entry.id for entry in world.catalog.entries()]
    abandon(loop)
    gate = {"name": "g", "source": "Prequential", "metric": "recall@7", "min": "0.1"}
    edited = with_spec(snapshots={"events": 7, "interval": "1ms"}, rollout={"gates": [gate]})
    again = world.loop(model=edited)
    assert state_of(again) == state_of(loop)
    assert [entry.id for entry in world.catalog.entries()] == entries
    assert EmbeddedEvidence(world.database).totals("r", 0) == evidence
    world.send(20)
    drain(again)
    assert len(world.catalog.entries()) > len(entries), "new plans follow the new spec"
    assert "recall@7" in EmbeddedEvidence(world.database).totals("r", 0).paired


def test_a_snapshot_that_cannot_be_read_now_stops_the_turn_before_anything_is_journaled(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    world.send(30)
    store = world.home.snapshots(MODEL.key)
    store.rename(store.with_name("away"))
    size = loop._journal.path.stat().st_size
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="mount its volume"):
            loop.turn()
    assert loop._journal.path.stat().st_size == size
    store.with_name("away").rename(store)
    drain(loop)
    assert loop.trainer.position.interactions == 130
    assert loop.trainer.window.evaluated > 0
    abandon(loop)
    plans = world.loop()._journal.plans
    assert [each.sequence for each in plans] == list(range(2, 2 + len(plans)))
    assert sum(end - start for each in plans for start, end in each.ranges.values()) == 30


def test_an_unsound_snapshot_is_not_named_by_any_plan(world):
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    stable = world.catalog.entries()[0].id
    (world.home.snapshots(MODEL.key) / stable / "items.rows.npy").write_bytes(b"damaged")
    world.send(30)
    drain(loop)
    abandon(loop)
    plans = world.loop()._journal.plans
    assert {(plan.routing.stable, plan.routing.candidate) for plan in plans} == {(None, None)}


def test_while_it_lags_plans_grow_and_a_sample_is_evaluated(world, monkeypatch):
    monkeypatch.setattr(planning, "SAMPLE", 3)
    world.send(100)
    loop = world.loop()
    loop.turn()
    world.roll()
    world.send(300)
    drain(loop)
    world.send(10)
    drain(loop)
    abandon(loop)
    plans = world.loop()._journal.plans
    sizes = [sum(end - start for start, end in plan.ranges.values()) for plan in plans]
    assert max(sizes) > 32
    assert sum(sizes) == 310
    assert all((size > 32) == (plan.rules.of == 3) for size, plan in zip(sizes, plans, strict=True))
    assert sizes[-1] <= 10, "and shrink again"


def test_a_forgotten_user_is_in_no_file_of_the_trainer_also_after_a_replay_from_the_start(world):
    world.send(100)
    gone = [Interaction(user_id="forgetme", item_id=f"i{n}") for n in range(5)]
    records = [NewRecord(b"forgetme", encode(each)) for each in gone]
    world.log.append(TOPIC, records)
    loop = world.loop()
    loop.turn()
    loop.save()
    assert b"forgetme" in everything(world.folder)
    world.log.append(TOPIC, [*records, NewRecord(b"forgetme", encode(Forget(user_id="forgetme")))])
    drain(loop)
    for _ in range(2):
        loop.save()
        world.send(10)
        drain(loop)
    assert b"forgetme" not in everything(world.folder)
    assert b"forgetme" not in everything(world.home.snapshots(MODEL.key))
    abandon(loop)
    assert state_of(world.loop()) == state_of(loop)
    shutil.rmtree(world.folder)
    anew = world.loop()
    anew.turn()
    anew.save()
    assert anew.trainer.position.forgets == 1
    assert b"forgetme" not in everything(world.folder)


def everything(folder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
