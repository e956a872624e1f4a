"""Which answers were hit: credits interactions to answers. Pure; all times are the log's, in milliseconds.

An interaction is credited to the answer it names by ``request_id``, else to the latest answer of that user
that holds the item and is at most a window old. One credit per (answer, item). The outcome is a function
of what the log holds, not of the order in which two topics are read, because an answer is judged only
once everything that could bear on it has been read: when the watermark has passed its window and the slack.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Final, NamedTuple

from sluice.experiment import Experiment
from sluice.routing import Routing

SLACK_MS: Final = 2_000
"""An answer reaches the log at most so much later than it was given."""

REPEAT_MS: Final = 600_000
"""An answer of which nobody knew whether the log had it is appended again at most so much later."""

ANSWERS_CAP: Final = 200
"""So many answers of one user and snapshot are counted in a rollout; more would let one user speak for all."""


class Given(NamedTuple):
    """An answer: ``at`` is when it was given, ``logged`` when the log took it.

    ``experiment`` is the key of the one that it is part of, if any (:attr:`~sluice.experiment.Experiment.rollout`).
    """

    offset: int
    logged: int
    at: int
    request_id: str
    user_id: str
    model: str
    snapshot: str
    items: tuple[str, ...]
    experiment: str = ""


class Click(NamedTuple):
    """An interaction as attribution sees it."""

    offset: int
    at: int
    user_id: str
    item_id: str
    request_id: str | None


class Contest(NamedTuple):
    """What is counted: answers of ``snapshots`` given since ``since`` count for ``rollout`` of ``model``.

    In an experiment models stand where a rollout has snapshots, and its own key where a rollout has the model's.
    """

    model: str
    rollout: str
    snapshots: Set[str]
    since: int
    window_ms: int
    experiment: bool = False

    def concerns(self, answer: Given) -> bool:
        """Return whether an answer is the model's, or the experiment's."""
        return self.model == (answer.experiment if self.experiment else answer.model)

    def arm(self, answer: Given) -> str:
        """Return what an answer speaks for."""
        return answer.model if self.experiment else answer.snapshot

    def counts(self, answer: Given) -> bool:
        """Return whether an answer is part of it; one of a user who was forgotten is not."""
        return answer.user_id != "" and self.arm(answer) in self.snapshots and answer.at >= self.since


class Tallied(NamedTuple):
    """One user's answers and hits of one snapshot in one rollout."""

    answers: int = 0
    hits: int = 0

    def add(self, *, hit: bool) -> "Tallied":
        """Return it with one more answer, up to the cap."""
        if self.answers >= ANSWERS_CAP:
            return self
        return Tallied(self.answers + 1, self.hits + hit)


def given_at(ts: int, logged: int) -> int:
    """Return when an answer was given: its own clock, believed only within the slack before the log's."""
    return min(max(ts, logged - SLACK_MS), logged)


def credits_of(answers: Sequence[Given], clicks: Iterable[Click], window_ms: int) -> set[tuple[int, str]]:
    """Return the credits (answer offset, item id) of one user's answers and clicks."""
    credited = set()
    for click in clicks:
        open_to_it = [
            answer
            for answer in answers
            if answer.at <= click.at <= answer.at + window_ms and click.item_id in answer.items
        ]
        named = [answer for answer in open_to_it if answer.request_id == click.request_id]
        for answer in named or sorted(open_to_it, key=lambda each: (each.at, each.offset))[-1:]:
            credited.add((answer.offset, click.item_id))
    return credited


def due_before(watermark: int, window_ms: int) -> int:
    """Return the log time before which answers can be judged: all that bears on them has been read."""
    return watermark - window_ms - SLACK_MS


def repeats(before: int, logged: int) -> bool:
    """Return whether one answer taken by the log at both times was given once."""
    return logged - before <= REPEAT_MS


def needed_from(since: int, window_ms: int) -> int:
    """Return the log time from which on to read, to count answers since ``since`` as who has read all.

    A click may name an answer given a window before the first that counts, and that one may be a repeat.
    """
    return since - 2 * (window_ms + SLACK_MS) - REPEAT_MS


def keep_ids_from(watermark: int) -> int:
    """Return the log time from which answers are known again: no later one repeats those before."""
    return watermark - REPEAT_MS - SLACK_MS


def keep_answers_from(watermark: int, window_ms: int) -> int:
    """Return the log time from which answers stay: a judged one may still be the one a click names."""
    return watermark - 2 * (window_ms + SLACK_MS)


def keep_clicks_from(watermark: int, window_ms: int) -> int:
    """Return the log time from which clicks stay: earlier ones bear on judged answers only."""
    return watermark - window_ms - 2 * SLACK_MS


def keep_forgets_from(watermark: int) -> int:
    """Return the log time from which forgets stay: all answers given before earlier ones have been read."""
    return watermark - 2 * SLACK_MS


def contest_of(model: str, routing: Routing, since: int, window_ms: int) -> Contest:
    """Return what is counted under ``routing``: nothing unless a candidate is there."""
    named = {routing.stable, routing.candidate} if routing.candidate is not None else set()
    snapshots = frozenset(each for each in named if each is not None)
    return Contest(model, routing.rollout, snapshots, since, window_ms)


def experiment_contest(experiment: Experiment, since: int, window_ms: int) -> Contest:
    """Return what is counted for an experiment."""
    models = frozenset(arm.model for arm in experiment.arms)
    return Contest(experiment.rollout, experiment.rollout, models, since, window_ms, experiment=True)
