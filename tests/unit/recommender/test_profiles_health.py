"""What the probes of the profiles process are told."""

from types import SimpleNamespace

from sluice_recommender.profiles.health import STUCK_S, Health


def test_without_a_model_there_is_nothing_to_do_and_it_is_ready():
    health = Health()
    health.idle = True
    assert health.not_ready() is None
    assert health.stuck(1e9) is None


def test_while_its_stores_are_away_it_is_healthy_and_not_ready():
    health = Health()
    assert health.not_ready() is not None
    assert health.stuck(1e9) is None


def test_it_is_ready_once_the_group_has_taken_it_in():
    health = Health()
    health.process = SimpleNamespace(turned_at=0.0, joined=False)
    assert "member" in (health.not_ready() or "")
    health.process.joined = True
    assert health.not_ready() is None


def test_it_is_unhealthy_when_its_loop_turns_no_more():
    health = Health()
    health.process = SimpleNamespace(turned_at=100.0, joined=True)
    assert health.stuck(100.0 + STUCK_S - 1) is None
    assert f"{STUCK_S:.0f} s" in (health.stuck(100.0 + STUCK_S) or "")
