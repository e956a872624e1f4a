"""The frame of ``sluice top``: parts in a short and a long form, as many long ones as the height holds."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from sluice_cli.demo.sections import Frame, line, rule
from sluice_cli.top import parts, rollout
from sluice_cli.top.overview import Overview

Part = Callable[[Overview, Frame], list[list[Text]]]
"""Returns its forms, the shortest first; a form without lines is left out."""

VIEWS: Final[dict[str, tuple[Part, ...]]] = {
    "1": (parts.processes, parts.requests, parts.stream, parts.learning, rollout.rollout, rollout.snapshots),
    "2": (parts.processes, parts.requests, parts.stream, parts.learning),
    "3": (rollout.rollout, rollout.snapshots),
}
GROWS: Final[tuple[Part, ...]] = (
    rollout.rollout,
    parts.processes,
    parts.stream,
    parts.requests,
    rollout.snapshots,
)
"""Which part gets its longer form first."""
LEAST_DECISIONS: Final = 2
KEYS: Final = "1 all 2 api 3 rollout q quit"


def compose(shown: Overview, form: Frame, height: int, view: str = "1", keys: str = KEYS) -> list[Text]:
    """Return a frame of at most ``height`` lines; decisions get what the rest leaves."""
    chosen = VIEWS[view]
    forms = {part: part(shown, form) for part in chosen}
    sizes = dict.fromkeys(chosen, 0)
    room = height - 1 - (1 + LEAST_DECISIONS if view != "2" else 0)
    for part in (each for each in GROWS if each in forms):
        while sizes[part] + 1 < len(forms[part]) and _lines(forms, sizes | {part: sizes[part] + 1}) <= room:
            sizes[part] += 1
    made = [head(shown, form, keys), *(each for part in chosen for each in forms[part][sizes[part]])]
    left = height - len(made)
    told = decisions(shown, form)[: max(0, left)] if view != "2" else []
    return [*made, *told][:height]


def _lines(forms: dict[Part, list[list[Text]]], sizes: dict[Part, int]) -> int:
    return sum(len(forms[part][size]) for part, size in sizes.items())


def head(shown: Overview, form: Frame, keys: str) -> Text:
    """Return the heading: the platform's address, when this was, and the keys."""
    at = datetime.fromtimestamp(shown.at, UTC).strftime("%H:%M:%SZ")
    words: list[str | tuple[str, str]] = [
        ("Sluice top", "bold cyan"),
        f" {shown.api.partition('://')[2]} {at}",
    ]
    models = ", ".join(shown.rollouts or shown.learning)
    if models:
        words.append((f" {models}", "bold"))
    used = sum(len(word if isinstance(word, str) else word[0]) for word in words)
    gap = form.width - used - len(keys)
    return line(*words, *([(" " * gap + keys, "dim")] if gap > 0 else []))


def decisions(shown: Overview, form: Frame) -> list[Text]:
    """Return the newest decisions, newest first."""
    notes = [note for state in shown.rollouts.values() for note in state.notes]
    newest = sorted(notes, key=lambda note: (note.at, note.number), reverse=True)
    return [rule("decisions", form), *map(rollout.decision, newest)] if newest else []


def plain(lines: Sequence[Text]) -> str:
    """Return a frame as text without any control codes."""
    return "\n".join(each.plain.rstrip() for each in lines)
