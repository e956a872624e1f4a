"""The frame fits its terminal, shows the numbers, and obeys nothing that others wrote."""

import pytest

from sluice_cli.demo.sections import Frame
from sluice_cli.top.frame import compose, plain
from sluice_cli.top.looking import Look
from sluice_cli.top.parts import duration
from sluice_cli.top.reckoning import overview


def drawn(before: Look, now: Look, width: int = 80, height: int = 24, view: str = "1") -> list[str]:
    """The lines as a terminal of this size shows them."""
    from io import StringIO

    from rich.console import Console, Group

    console = Console(width=width, height=height, file=StringIO(), record=True, force_terminal=True)
    console.print(Group(*compose(overview(before, now), Frame(width, 0.0), height, view)))
    return console.export_text().splitlines()


@pytest.mark.parametrize("view", ["1", "2", "3"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (132, 50), (60, 16), (40, 8)])
def test_it_fits(before: Look, now: Look, width: int, height: int, view: str) -> None:
    lines = drawn(before, now, width, height, view)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_frame_of_80_by_24(before: Look, now: Look) -> None:
    assert "\n".join(line.rstrip() for line in drawn(before, now)) == FRAME.strip("\n")


FRAME = """
Sluice top 127.0.0.1:8080 00:16:45Z default.home    1 all 2 api 3 rollout q quit
process            pid    up   cpu   memory  restarts
api                100  1:45  10 %  50.0 MB         0
stable-0           100  1:45   0 %  50.0 MB         0
profiles           100  1:45   0 %  50.0 MB         1
trainer            100  1:45   0 %  50.0 MB         0
controller         100  1:45   0 %  50.0 MB         0
canary-0 (silent)  100  1:45   0 %  50.0 MB         0
api    21.0 requests/s · p50 5.6 ms · p99 19.0 ms · 1.0 errors/s
answers personalized 20.0 · popular 1.0 · no-pod 1.0 · candidate 1.0
log    in 20.0/s · applied 0.0/s · dead letters 2 · repeated 5 · overlay 620
lag    shop.interactions        profiles 1,200+3 40.0 ms · trainer 12
trainer GMF 100.0 events/s · learned 5,500 · 198 users · 514 items · 2 cut
recall  served .118 popularity .094 @20 of 4,350 · newest 2,000: .120 to –
── rollout of default.home: Progressing, epoch 9 ───────────────────────────────
step 2 of 4 (gate recall): needs about 800 more samples, ~20 s
████████░░░░░░░░  50 % gmf-000036506-bbbb beside gmf-000034006-aaaa
gate   verdict       value interval         limit samples missing
recall Inconclusive -0.004 [-0.051, 0.043] -0.040   1,612 800 more, ~20 s
errors Fail          0.050 –                0.020     300
── decisions ───────────────────────────────────────────────────────────────────
00:16:40Z Aborted bad �[2J
00:16:40Z WeightSet weight 50
"""


def test_a_tall_terminal_shows_everything(before: Look, now: Look) -> None:
    lines = "\n".join(drawn(before, now, 120, 60))
    for shown in (
        "profiles           100  1:45   0 %  50.0 MB         1",
        "/v1/recommendations        21.0       1.0  5.6 ms  19.0 ms",
        "shop.interactions        profiles 1,200+3 40.0 ms · trainer 12",
        "refused by stable-0: sha256 of items.index is wrong",
        "headroom 24.0 GB",
    ):
        assert shown in lines


def test_keys_choose_what_is_shown(before: Look, now: Look) -> None:
    traffic, rollout = "\n".join(drawn(before, now, view="2")), "\n".join(drawn(before, now, view="3"))
    assert "/v1/recommendations" in traffic
    assert "rollout of" not in traffic
    assert "Inconclusive" in rollout
    assert "requests/s" not in rollout


def test_what_others_wrote_cannot_steer_the_terminal(before: Look, now: Look) -> None:
    text = plain(compose(overview(before, now), Frame(100, 0.0), 1_000))
    assert "\x1b" not in text
    assert "Aborted bad �[2J" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59.9, "59 s"), (61, "1:01"), (3_720, "1 h 02"), (187_200, "2 d 04 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
