"""YOOCHOOSE clicks as ADER prepared them: ``period_0.txt`` … ``period_16.txt``, one ``session item`` per line.

A session is a user. The preparation dropped the times and kept the order, so times are made up: period p
is the p-th day from :data:`FIRST_DAY_MS`, its clicks spread evenly over the day.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from sluice.records import Interaction
from sluice_cli.datasets.dataset import Dataset, DatasetError, Options, bare_items
from sluice_cli.datasets.files import expect, read_lines

NAME: Final = "ader-yoochoose"
FIRST_DAY_MS: Final = 1_396_310_400_000
"""2014-04-01T00:00Z, a stand-in."""
DAY_MS: Final = 86_400_000
CLICKS: Final = (
    219_389, 209_219, 218_162, 162_637, 177_943, 307_603, 232_887, 178_076, 199_615,
    179_889, 123_750, 153_565, 300_830, 259_673, 187_348, 154_316, 105_676,
)  # fmt: skip
"""Lines of each period's file."""


def clicks(folder: Path, options: Options, counts: Sequence[int] = CLICKS) -> Dataset:
    """Read the periods in order, only as many as ``options.limit`` asks for."""
    interactions: list[Interaction] = []
    for period, count in enumerate(counts):
        if options.limit is not None and len(interactions) >= options.limit:
            break
        lines = read_lines(folder, f"period_{period}.txt")
        expect(len(lines), count, f"{folder / f'period_{period}.txt'}, clicks")
        missing = None if options.limit is None else options.limit - len(interactions)
        interactions += _period(folder / f"period_{period}.txt", period, lines, missing)
    return Dataset(NAME, "YOOCHOOSE shop clicks, a session as user", interactions, bare_items(interactions))


def _period(path: Path, period: int, lines: list[str], wanted: int | None) -> list[Interaction]:
    start, count = FIRST_DAY_MS + period * DAY_MS, len(lines)
    rows = []
    for number, line in islice(enumerate(lines), wanted):
        session, _, item_id = line.partition(" ")
        if not (session.isdecimal() and item_id.isdecimal()):
            raise DatasetError(
                f"{path} line {number + 1} must be two numbers, session and item; fetch it again"
            )
        rows.append(
            Interaction(
                user_id=session,
                item_id=item_id,
                ts=start + number * DAY_MS // count,
                event_id=f"{NAME}-{period}-{number + 1}",
            )
        )
    return rows
