"""Draw the rollout's states from its transition table into docs/explanation/rollout.md.

Run ``python docs/make_rollout_diagram.py`` after a change of the table; a unit test compares the two.
Moves that every phase with a candidate has are drawn once, from the frame around those phases. Moves that
stay where they are and only clear the list of aborted snapshots (``retry``) are left out.
"""

from collections import defaultdict
from pathlib import Path

from sluice_operator.rollout.state import ROLLING, Phase
from sluice_operator.rollout.table import TABLE, Event

PAGE = Path(__file__).parent / "explanation" / "rollout.md"
BEGIN, END = "<!-- diagram: begin (docs/make_rollout_diagram.py) -->", "<!-- diagram: end -->"

Moves = dict[tuple[str, str], list[str]]


def diagram() -> str:
    """Return the table as a mermaid state diagram."""
    everywhere = {move for move in _moves(Phase.PROGRESSING) if all(move in _moves(each) for each in ROLLING)}
    inside: Moves = defaultdict(list)
    outside: Moves = defaultdict(list)
    for phase in TABLE:
        for event, target in _moves(phase):
            if phase in ROLLING and (event, target) in everywhere:
                outside["Rolling", str(target)].append(str(event))
            else:
                frame = inside if phase in ROLLING and target in ROLLING else outside
                frame[str(phase), str(target)].append(str(event))
    lines = [
        "stateDiagram-v2",
        "    [*] --> Waiting",
        "    state Rolling {",
        *_drawn(inside, "        "),
        "    }",
    ]
    return "\n".join([*lines, *_drawn(outside, "    ")])


def page(text: str) -> str:
    """Return the page with the diagram between its marks replaced."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n```mermaid\n{diagram()}\n```\n{END}{rest.split(END)[1]}"


def _moves(phase: Phase) -> list[tuple[Event, Phase]]:
    row = TABLE[phase].items()
    return [(event, target) for event, targets in row for target in targets if event != Event.RETRY]


def _drawn(moves: Moves, indent: str) -> list[str]:
    return [f"{indent}{a} --> {b}: {', '.join(dict.fromkeys(events))}" for (a, b), events in moves.items()]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
