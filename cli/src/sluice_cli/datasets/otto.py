"""OTTO: JSON lines, one session a line, merged into one stream by time.

``{"session": 0, "events": [{"aid": 1517085, "ts": 1659304800025, "type": "clicks"}, …]}``. A session is a
user; clicks, carts and orders become the events ``view``, ``cart`` and ``order``.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from sluice.records import Interaction
from sluice_cli.datasets.dataset import Dataset, DatasetError, Options, bare_items, in_time_order
from sluice_cli.datasets.files import expect, read_lines

NAME: Final = "otto-20"
SESSIONS: Final = 20
EVENTS: Final = 862
KINDS: Final = {"clicks": "view", "carts": "cart", "orders": "order"}


class _Event(Struct, frozen=True):
    aid: Annotated[int, Meta(ge=0)]
    ts: Annotated[int, Meta(ge=0, lt=1 << 53)]
    type: Literal["clicks", "carts", "orders"]


class _Session(Struct, frozen=True):
    session: Annotated[int, Meta(ge=0)]
    events: list[_Event]


def sessions(
    folder: Path, options: Options, session_count: int | None = SESSIONS, event_count: int | None = EVENTS
) -> Dataset:
    """Read ``train.jsonl``; ``session_count`` and ``event_count`` are what it must hold."""
    lines = read_lines(folder, "train.jsonl")
    expect(len(lines), session_count, f"{folder / 'train.jsonl'}, sessions")
    rows = [row for number, line in enumerate(lines, 1) for row in _session(folder, number, line)]
    expect(len(rows), event_count, f"{folder / 'train.jsonl'}, events")
    interactions = in_time_order(rows)[: options.limit]
    return Dataset(NAME, "OTTO shop sessions, a session as user", interactions, bare_items(interactions))


def _session(folder: Path, number: int, line: str) -> list[Interaction]:
    try:
        session = msgspec.json.decode(line, type=_Session)
    except msgspec.DecodeError as error:
        raise DatasetError(f"{folder / 'train.jsonl'} line {number}: {error}; fetch it again") from error
    return [
        Interaction(
            user_id=str(session.session),
            item_id=str(event.aid),
            event=KINDS[event.type],
            ts=event.ts,
            event_id=f"{NAME}-{number}-{place}",
        )
        for place, event in enumerate(session.events, 1)
    ]
