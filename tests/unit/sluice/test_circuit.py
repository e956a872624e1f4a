"""The circuit: one caller finds out, the others do not wait."""

import threading

import pytest

from sluice.circuit import Circuit
from sluice.errors import StorageUnavailable


class World:
    """A circuit that rests for a second, over something that works or does not."""

    def __init__(self):
        self.now, self.down, self.calls, self.told = 0.0, False, 0, []
        self.circuit = Circuit(1.0, lambda: self.now, self.told.append)

    def work(self):
        self.calls += 1
        if self.down:
            raise StorageUnavailable("it is away")
        return self.calls

    def ask(self):
        return self.circuit.through(self.work)

    def is_refused(self):
        with pytest.raises(StorageUnavailable, match="it is away"):
            self.ask()
        return True


@pytest.fixture
def world():
    return World()


def test_what_works_is_asked_every_time(world):
    assert [world.ask(), world.ask()] == [1, 2]
    assert world.told == []


def test_after_a_failure_nobody_asks_until_the_rest_is_over(world):
    world.down = True
    for world.now in (0.0, 0.5, 0.999):
        assert world.is_refused()
    assert world.calls == 1
    world.now = 1.0
    assert world.is_refused()
    assert world.calls == 2


def test_one_tries_while_the_others_are_refused(world):
    world.down = True
    assert world.is_refused()
    world.now, seen = 1.0, []

    def slow():
        seen.append(world.is_refused())
        return "works"

    assert world.circuit.through(slow) == "works"
    assert (seen, world.calls) == ([True], 1)
    world.down = False
    assert world.ask() == 2


def test_one_who_tries_and_never_comes_back_stops_nobody_for_longer_than_a_rest(world):
    world.down = True
    assert world.is_refused()
    world.now = 1.0
    with pytest.raises(ZeroDivisionError):
        world.circuit.through(lambda: 1 / 0)
    assert world.is_refused()
    world.now, world.down = 2.0, False
    assert world.ask() == 2


def test_beginning_and_end_of_an_outage_are_told_once(world):
    world.down = True
    for world.now in (0.0, 0.5, 1.0, 2.0):
        assert world.is_refused()
    assert world.circuit.reason == "it is away"
    world.now, world.down = 3.0, False
    for _ in range(3):
        world.ask()
    assert world.told == ["it is away", None]
    assert world.circuit.reason is None


def test_other_errors_say_nothing_of_the_other_side(world):
    with pytest.raises(ZeroDivisionError):
        world.circuit.through(lambda: 1 / 0)
    assert world.ask() == 1
    assert world.told == []


def test_an_end_is_not_told_before_the_beginning_that_is_being_told():
    told, failed = [], threading.Event()

    def tell(reason):
        if reason:
            failed.set()
            works.join(0.3)  # as long as the other could need to overtake
        told.append(reason)

    def ask():
        circuit.through(lambda: begun.set() or failed.wait(10))

    def fail():
        raise StorageUnavailable("it is away")

    circuit, begun = Circuit(1.0, lambda: 0.0, tell), threading.Event()
    works = threading.Thread(target=ask)
    works.start()
    assert begun.wait(10)
    with pytest.raises(StorageUnavailable):
        circuit.through(fail)
    works.join(10)
    assert told == ["it is away", None]
