"""The controller: observe, decide, write the decision down, act."""

import threading

import msgspec
import pytest
import structlog

from sluice.catalog import CatalogEntry
from sluice.errors import Conflict, StaleEpoch, StorageUnavailable
from sluice.evidence import EvidenceTotals
from sluice.model import ModelSpec, spec_hash
from sluice.routing import Routing
from sluice_operator.controller import Controller
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.rollout.observation import Command, Fleet, Group, Pod, Verb
from sluice_operator.rollout.state import Note, NoteType, Phase, RolloutState

SPEC = msgspec.convert({"algorithm": {"type": "GMF"}, "snapshots": {"historyLimit": 3}}, ModelSpec)


def entry(name: str, **fields) -> CatalogEntry:
    made = {
        "uri": f"file:///{name}",
        "digest": name,
        "parent": None,
        "algorithm": "GMF",
        "spec_hash": spec_hash(SPEC),
        "epoch": 1,
        "created": 1.0,
        "interactions": 1,
        "bytes": 100,
        "metrics": {"indexRecall": 1.0},
    }
    return CatalogEntry(id=name, **(made | fields))


class RememberingStatus:
    """Keeps one state with its version."""

    def __init__(self, log: list) -> None:
        self.version, self.state, self._log = 0, RolloutState(), log

    def read(self):
        return self.version, self.state

    def write(self, state, version):
        assert version == self.version
        self.version, self.state = version + 1, state
        self._log.append("write")


class ConflictingStatus(RememberingStatus):
    """Somebody else writes between every read and write."""

    def write(self, state, version):
        raise Conflict("the rollout state is at another version")


class NoCommands:
    def pending(self):
        return ()


class ListedCatalog:
    """Lists what it is given and remembers what is released."""

    def __init__(self, *entries: CatalogEntry) -> None:
        self.listed, self.released = list(entries), set()

    def entries(self):
        return self.listed

    def release(self, snapshots, epoch):
        self.released |= snapshots


class AskedEvidence:
    """Has none, and remembers for what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def totals(self, rollout, weight_epoch):
        self.asked.append((rollout, weight_epoch))
        return EvidenceTotals()

    def purge(self, keep):
        assert all(isinstance(rollout, str) for rollout in keep)


class RecordingRouting:
    def __init__(self, log: list) -> None:
        self.published: list[Routing] = []
        self._log = log

    def publish(self, routing):
        self.published.append(routing)
        self._log.append("publish")


class FailingRouting(RecordingRouting):
    """Redis is down."""

    def publish(self, routing):
        raise StorageUnavailable("routing cannot be published")


class FencedRouting(RecordingRouting):
    """A newer operator has published a higher epoch."""

    def publish(self, routing):
        raise StaleEpoch("routing epoch was replaced")


class ObedientFleet:
    """Two stable pods that load what they are told at once."""

    def __init__(self, log: list) -> None:
        self.wanted: dict[str, tuple[str, ...]] = {}
        self.epochs: list[int] = []
        self.canary_replicas = 0
        self._log = log

    def observe(self):
        held = frozenset(self.wanted.get("stable", ()))
        pods = tuple(Pod(name=f"s-{n}", ready=True, loaded=held, wanted=held) for n in range(2))
        return Fleet(stable=Group(desired=2, pods=pods))

    def want(self, group, snapshots, epoch):
        self.wanted[group.value] = snapshots
        self.epochs.append(epoch)
        self._log.append(f"want {group.value}")

    def scale_canary(self, replicas, epoch):
        self.canary_replicas = replicas
        self.epochs.append(epoch)
        self._log.append("scale")


class UnreachableFleet(ObedientFleet):
    """Pods can be seen but not told anything."""

    def __init__(self, log: list, error: Exception) -> None:
        super().__init__(log)
        self._error = error

    def want(self, group, snapshots, epoch):
        raise self._error


class RecordingNotes:
    def __init__(self) -> None:
        self.told: list[Note] = []

    def record(self, note):
        new = note.number not in {each.number for each in self.told}
        if new:
            self.told.append(note)
        return new


class World:
    """A controller with its fakes; replace one to see what it does."""

    def __init__(self, **replaced) -> None:
        self.log: list[str] = []
        self.status = replaced.get("status") or RememberingStatus(self.log)
        self.routing = replaced.get("routing") or RecordingRouting(self.log)
        self.fleet = replaced.get("fleet") or ObedientFleet(self.log)
        self.catalog = replaced.get("catalog") or ListedCatalog(entry("s1"))
        self.evidence, self.notes = AskedEvidence(), RecordingNotes()
        self.verified: list[str] = []
        self.controller = Controller(
            SPEC,
            status=self.status,
            commands=replaced.get("commands") or NoCommands(),
            fleet=self.fleet,
            notes=self.notes,
            catalog=self.catalog,
            evidence=self.evidence,
            routing=self.routing,
            verified=replaced.get("verify") or (lambda made: self.verified.append(made.id) or True),
        )

    def until(self, phase: Phase, now: float = 1_000.0) -> float:
        for _ in range(20):
            if self.controller.reconcile(now).phase is phase:
                return now
            now += 11
        raise AssertionError(f"{phase} was not reached: {self.status.state}")


def test_a_first_snapshot_becomes_stable():
    world = World()
    now = world.until(Phase.STABLE)
    assert world.routing.published[-1] == Routing(
        epoch=world.status.state.epoch, rollout="", stable="s1", candidate=None, weight=0, renewed=now
    )
    assert world.fleet.wanted["stable"] == ("s1",)
    assert world.status.state.stable == "s1"
    assert world.notes.told


def test_a_decision_is_written_before_anything_is_done():
    world = World()
    world.controller.reconcile(1_000.0)
    assert world.log[0] == "write"
    assert set(world.log[1:]) == {"publish", "want stable", "want canary", "scale"}
    assert world.log[1] == "publish", "routing comes before pods"


def test_if_somebody_else_wrote_meanwhile_nothing_is_done():
    log: list[str] = []
    world = World(status=ConflictingStatus(log))
    with pytest.raises(Conflict):
        world.controller.reconcile(1_000.0)
    assert (world.routing.published, world.fleet.wanted, world.notes.told) == ([], {}, [])
    assert world.catalog.released == set()


def test_a_pass_that_decides_nothing_writes_nothing_but_renews_the_levels():
    world = World()
    now = world.until(Phase.STABLE)
    world.controller.reconcile(now)
    version, told = world.status.version, len(world.notes.told)
    world.log.clear()
    world.controller.reconcile(now + 5)
    assert world.status.version == version
    assert "write" not in world.log
    assert world.routing.published[-1].renewed == now + 5
    assert len(world.notes.told) == told


def test_every_action_carries_the_epoch_of_its_decision():
    world = World()
    world.until(Phase.STABLE)
    epoch = world.status.state.epoch
    assert epoch > 0
    assert world.routing.published[-1].epoch == epoch
    assert world.fleet.epochs[-1] == epoch
    assert world.fleet.epochs == sorted(world.fleet.epochs)
    assert {told.epoch for told in world.notes.told} <= set(range(1, epoch + 1))


@pytest.mark.parametrize(
    "error", [StorageUnavailable("pods are away"), OSError(28, "No space left on device")]
)
def test_an_action_that_fails_does_not_keep_the_others_from_being_done(error):
    log: list[str] = []
    world = World(fleet=UnreachableFleet(log, error))
    world.controller.reconcile(1_000.0)
    assert world.routing.published
    assert "scale" in log
    assert world.notes.told


def test_a_failing_routing_write_does_not_keep_pods_from_being_told_and_comes_again():
    world = World(routing=FailingRouting([]))
    now = world.until(Phase.STABLE)
    assert world.fleet.wanted["stable"] == ("s1",)
    back = RecordingRouting([])
    world.controller._routing = back
    world.controller.reconcile(now + 1)
    assert back.published[-1].stable == "s1"


def test_what_stays_broken_is_told_once_and_so_is_its_end():
    world = World(routing=FailingRouting([]))
    with structlog.testing.capture_logs() as said:
        now = world.until(Phase.STABLE)
        for _ in range(5):
            world.controller.reconcile(now)
        world.controller._routing = RecordingRouting([])
        for _ in range(2):
            world.controller.reconcile(now)
    told = [each["event"] for each in said if each.get("action") == "PublishRouting"]
    assert told == ["action failed, the next pass tries it again", "action succeeds again"]


def test_a_replaced_operator_stops_at_the_first_action_that_meets_a_higher_epoch():
    world = World(routing=FencedRouting([]))
    with pytest.raises(StaleEpoch):
        world.controller.reconcile(1_000.0)
    assert world.fleet.wanted == {}
    assert world.notes.told == []


class BusyNotes(RecordingNotes):
    """Takes nothing as long as it is busy, as the store of a process that dies before it told."""

    busy = True

    def record(self, note):
        if self.busy:
            raise StorageUnavailable("notes cannot be written")
        return super().record(note)


def test_notes_that_were_not_taken_are_told_with_a_later_pass():
    world = World()
    world.controller._notes = busy = BusyNotes()
    now = world.until(Phase.STABLE)
    decided = world.status.state.notes
    busy.busy = False
    world.controller.reconcile(now + 1)
    assert busy.told == list(decided)


def test_what_a_process_decided_and_did_not_tell_is_told_once_by_the_next():
    first = World()
    first.controller._notes = BusyNotes()
    now = first.until(Phase.STABLE)
    second = World(status=first.status, routing=first.routing, fleet=first.fleet)
    for _ in range(2):
        second.controller.reconcile(now + 1)
    assert [note.reason for note in second.notes.told] == ["RolloutStarted", "Promoted"]
    third = World(status=first.status, routing=first.routing, fleet=first.fleet)
    third.controller._notes = second.notes
    third.controller.reconcile(now + 2)
    assert len(second.notes.told) == 2


def test_evidence_is_asked_for_the_rollout_and_weight_epoch_of_the_state():
    world = World()
    world.status.state = RolloutState(
        phase=Phase.STABLE, stable="s1", rollout="r9", weight_epoch=3, promoted=("s1",), epoch=4
    )
    world.controller.reconcile(1_000.0)
    assert world.evidence.asked == [("r9", 3)]


def test_a_released_snapshot_is_neither_verified_nor_taken():
    world = World(catalog=ListedCatalog(entry("old", released=True), entry("s1")))
    world.until(Phase.STABLE)
    assert set(world.verified) == {"s1"}
    assert world.status.state.stable == "s1"


def test_a_snapshot_that_is_not_verified_never_becomes_stable():
    world = World(verify=lambda _entry: False)
    for number in range(10):
        world.controller.reconcile(1_000.0 + 11 * number)
    assert world.status.state.stable is None
    assert all(each.stable is None for each in world.routing.published)


def test_a_snapshot_cut_under_another_spec_never_becomes_stable():
    world = World(catalog=ListedCatalog(entry("s1", spec_hash="other")))
    for number in range(10):
        world.controller.reconcile(1_000.0 + 11 * number)
    assert world.status.state.stable is None


def test_a_second_controller_on_the_same_state_only_renews_what_the_first_decided():
    first = World()
    now = first.until(Phase.STABLE)
    second = World(status=first.status, routing=first.routing, fleet=first.fleet)
    before, published = first.status.version, first.routing.published[-1]
    second.controller.reconcile(now)
    assert first.status.version == before
    assert first.routing.published[-1] == published


# --- the embedded store of state, commands and notes


@pytest.fixture
def rollout(tmp_path):
    return EmbeddedRollout(tmp_path / "rollout.db")


STATE = RolloutState(
    epoch=3, phase=Phase.PROGRESSING, stable="s1", candidate="s2", weight=5, consumed=("c1",)
)


def test_a_fresh_rollout_is_at_version_0(rollout):
    assert rollout.read() == (0, RolloutState())


def test_a_state_is_read_back_with_a_higher_version(tmp_path, rollout):
    rollout.write(STATE, 0)
    version, state = EmbeddedRollout(tmp_path / "rollout.db").read()
    assert (version > 0, state) == (True, STATE)
    rollout.write(RolloutState(), version)
    assert rollout.read()[0] > version


@pytest.mark.parametrize("version", [-1, 1, 7])
def test_a_write_at_another_version_is_refused_and_changes_nothing(rollout, version):
    with pytest.raises(Conflict):
        rollout.write(STATE, version)
    assert rollout.read() == (0, RolloutState())
    rollout.write(STATE, 0)
    with pytest.raises(Conflict):
        rollout.write(RolloutState(), 0)
    assert rollout.read()[1] == STATE


def test_of_writers_at_once_each_version_is_written_by_one_alone(tmp_path):
    openers = [EmbeddedRollout(tmp_path / "rollout.db") for _ in range(4)]
    openers[0].read()
    gate, written = threading.Barrier(4), []

    def work(number: int) -> None:
        gate.wait()
        for _ in range(15):
            version, state = openers[number].read()
            try:
                openers[number].write(msgspec.structs.replace(state, epoch=state.epoch + 1), version)
            except Conflict:
                continue
            written.append(version)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    version, state = openers[0].read()
    assert len(written) == len(set(written)) == state.epoch
    assert version == max(written) + 1


def test_commands_come_back_in_order_the_newest_only(tmp_path, rollout):
    asked = [Command(id=f"c{number}", verb=Verb.PAUSE, snapshot="s", step=number) for number in range(40)]
    for command in asked:
        rollout.ask(command)
    pending = EmbeddedRollout(tmp_path / "rollout.db").pending()
    assert pending == tuple(asked[-len(pending) :])
    assert len(pending) == 32


def note(number, **fields):
    return Note(type=NoteType.NORMAL, reason=f"R{number}", message=f"m {number}", number=number, **fields)


def test_notes_are_read_back_after_the_last_one_seen(rollout):
    notes = [note(number, epoch=number, at=9.0 + number) for number in (1, 2, 3)]
    assert [rollout.record(each) for each in (*notes, notes[1])] == [True, True, True, False]
    recorded = rollout.notes()
    assert [each.note for each in recorded] == notes
    assert [(each.at, each.epoch) for each in recorded] == [(10.0, 1), (11.0, 2), (12.0, 3)]
    assert [each.note for each in rollout.notes(after=recorded[1].sequence)] == notes[2:]
    assert rollout.notes(after=recorded[2].sequence) == []


def test_a_controller_on_the_embedded_store_goes_on_where_another_stopped(rollout):
    world = World(status=rollout, commands=rollout)
    for number in range(3):
        world.controller.reconcile(1_000.0 + 11 * number)
    _, before = rollout.read()
    assert before.stable == "s1"
    rollout.ask(Command(id="c1", verb=Verb.PAUSE))
    other = World(status=rollout, commands=rollout)
    other.controller.reconcile(1_050.0)
    _, after = rollout.read()
    assert after.stable == "s1"
    assert "c1" in after.consumed
