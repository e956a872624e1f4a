"""An outage is told when it begins, every half minute while it lasts, and when it ends."""

from structlog.testing import capture_logs

from sluice_trainer import outage
from sluice_trainer.outage import Outage


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_an_outage_met_every_second_is_told_every_half_minute_and_when_it_is_over(monkeypatch):
    clock, told = Clock(), Outage()
    monkeypatch.setattr(outage, "time", clock)
    with capture_logs() as said:
        told.over()
        for _ in range(61):
            told.met("the disk is full")
            clock.now += 1.0
        told.over()
        told.over()
        told.met("the log is away")
    assert [(line["event"], line.get("for_s", line.get("after_s"))) for line in said] == [
        ("storage unavailable, waiting", 0.0),
        ("storage unavailable, waiting", 30.0),
        ("storage unavailable, waiting", 60.0),
        ("storage available again", 61.0),
        ("storage unavailable, waiting", 0.0),
    ]
