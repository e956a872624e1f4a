"""Which state to begin from: the written one, unless it is lost or older than what has been acted upon."""

import msgspec
import pytest

from sluice_operator.adopting import Served, begun, newest
from sluice_operator.rollout.state import Aborted, HeldBy, Note, NoteType, Phase, RolloutState

WRITTEN = RolloutState(epoch=7, phase=Phase.PROMOTING, stable="a", candidate="b", rollout="b-7")


@pytest.mark.parametrize("served", [Served(), Served(6, "a"), Served(7, "other")])
def test_a_written_state_counts_as_it_is(served):
    assert begun(WRITTEN, served) is WRITTEN


@pytest.mark.parametrize("served", [Served(9, "a"), Served(9, None), Served(6, "b").not_below(9)])
def test_a_written_state_that_is_older_than_what_was_acted_upon_goes_on_above_it(served):
    state = begun(WRITTEN, served)
    assert (state.epoch, state.phase, state.stable) == (9, Phase.PROMOTING, "a")


def test_where_another_snapshot_serves_than_an_older_state_says_it_goes_on_serving():
    notes = (Note(type=NoteType.NORMAL, reason="Odd", message="", number=4),)
    aborted = (Aborted(id="x", reason="no", at=1.0),)
    written = msgspec.structs.replace(WRITTEN, aborted=aborted, consumed=("one",), notes=notes)
    state = begun(written, Served(9, "c").not_below(11))
    assert (state.epoch, state.phase, state.stable, state.candidate) == (11, Phase.STABLE, "c", None)
    assert (state.aborted, state.consumed, state.notes) == (aborted, ("one",), notes)


@pytest.mark.parametrize("phase", [Phase.HELD, Phase.ROLLING_BACK])
def test_a_hold_stays_where_another_snapshot_serves(phase):
    written = msgspec.structs.replace(WRITTEN, phase=phase, held_by=HeldBy.ROLLBACK, held_reason="asked")
    state = begun(written, Served(9, "c"))
    assert (state.phase, state.stable, state.held_by, state.held_reason) == (
        Phase.HELD,
        "c",
        HeldBy.ROLLBACK,
        "asked",
    )


def test_without_a_state_and_without_anything_served_all_begins():
    assert begun(None, Served()) == RolloutState()


def test_without_a_state_what_serves_goes_on_serving():
    state = begun(None, Served(12, "gmf-4"))
    assert (state.epoch, state.phase, state.stable, state.promoted) == (12, Phase.STABLE, "gmf-4", ("gmf-4",))


def test_without_a_state_an_epoch_alone_is_not_fallen_behind():
    assert begun(None, Served(12, None)) == RolloutState(epoch=12)


def test_of_what_is_known_the_later_decision_counts():
    assert newest(Served(3, "a"), Served(5, "b")) == Served(5, "b")
    assert newest(Served(5, None), Served(5, "b")) == Served(5, None)
    assert newest() == Served()


def test_a_pod_that_was_told_later_raises_the_epoch_and_names_nothing():
    assert Served(3, "a").not_below(8) == Served(3, "a", reached=8)
    assert begun(None, Served(9, "a").not_below(8)).epoch == 9
