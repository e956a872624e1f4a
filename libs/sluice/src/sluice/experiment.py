"""An experiment between models (A/B): every subject is dealt to one model and stays with it.

Its name is part of the hash, so that another experiment deals everybody anew. What came of it is evidence like a
rollout's: ``rollout`` is ``experiment/<name>``, ``snapshot`` the model. ``since`` is part of what it is, because
whoever takes over the counting of hits counts from there again: the log must reach back so far.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from sluice.errors import InvalidSetting
from sluice.routing import BUCKETS, Routing, bucket

SETTING: Final = "SLUICE_EXPERIMENT"
_FORM: Final = "write NAME@DATE: MODEL=PERCENT, MODEL=PERCENT"


def rollout_of(name: str) -> str:
    """Return what the evidence of an experiment is kept under."""
    return f"experiment/{name}"


class Arm(NamedTuple):
    """One model, ``<namespace>.<name>``, and its share of the subjects in percent."""

    model: str
    percent: int


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """At least two arms whose shares are 100 percent together; answers given since ``since`` (Unix seconds) count."""

    name: str
    since: float
    arms: tuple[Arm, ...]

    @property
    def rollout(self) -> str:
        """What its evidence is kept under."""
        return rollout_of(self.name)

    def model_for(self, subject: str) -> str:
        """Return the model that answers a user or session, always the same one."""
        drawn, end = bucket(self.rollout, subject), 0
        for arm in self.arms:
            end += arm.percent * (BUCKETS // 100)
            if drawn < end:
                return arm.model
        raise AssertionError("the shares are 100 percent together")


class Dealt:
    """:class:`~sluice.routing.RoutingStore` of an experiment: what is dealt never changes while it runs."""

    def __init__(self, experiment: Experiment) -> None:
        first, second, *_ = experiment.arms
        self._routing = Routing(
            epoch=0,
            rollout=experiment.rollout,
            stable=first.model,
            candidate=second.model,
            weight=second.percent,
            renewed=experiment.since,
            since=experiment.since,
        )

    def publish(self, routing: Routing) -> None:
        """Nobody publishes it."""
        raise NotImplementedError("an experiment is dealt as its setting says")

    def read(self) -> Routing:
        """See :class:`~sluice.routing.RoutingStore`."""
        return self._routing


def parse(text: str, models: Sequence[str]) -> Experiment | None:
    """Return the experiment of a setting such as ``als@2026-11-21: home=50, home-als=50``; None if it is empty.

    ``models`` are the keys of those served; one may be named without its namespace where that is clear. Raises
    :class:`InvalidSetting` naming what is wrong and the fix.
    """
    if not text.strip():
        return None
    head, colon, shares = text.partition(": ")
    name, at, since = (word.strip() for word in head.partition("@"))
    if not colon or not at or not name.replace("-", "").isalnum():
        raise InvalidSetting(f"{SETTING} is {text!r}: it has no name of letters, digits and -; {_FORM}")
    arms = tuple(_arm(share, models) for share in shares.split(",") if share.strip())
    if len({arm.model for arm in arms}) != len(arms) or len(arms) < 2:
        raise InvalidSetting(f"{SETTING} must name at least two models, each once; {_FORM}")
    if sum(arm.percent for arm in arms) != 100:
        raise InvalidSetting(
            f"{SETTING} gives {sum(arm.percent for arm in arms)} percent; make the shares 100 together"
        )
    return Experiment(name=name, since=_time(since), arms=arms)


def named(text: str) -> list[str]:
    """Return the models that a setting names, as it writes them."""
    shares = text.partition(": ")[2].split(",")
    return [share.partition("=")[0].strip() for share in shares if share.strip()]


def _time(text: str) -> float:
    """Return the Unix seconds of an ISO date or time, in UTC unless it says otherwise."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSetting(
            f"{SETTING} begins at {text!r}; write a date such as 2026-11-21, or a time such as 2026-11-21T12:00Z"
        ) from error
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()


def _is_whole(percent: str) -> bool:
    """Return whether :func:`int` takes it; a superscript is a digit too, but none of a number."""
    return percent.isascii() and percent.isdecimal() and len(percent) <= 3


def _arm(text: str, models: Sequence[str]) -> Arm:
    named, equals, percent = (word.strip() for word in text.partition("="))
    if not equals or not _is_whole(percent) or not 1 <= int(percent) <= 99:
        raise InvalidSetting(f"{SETTING} says {text.strip()!r}; {_FORM}, with whole percents from 1 to 99")
    found = [model for model in models if named in (model, model.partition(".")[2])]
    if len(found) != 1:
        known = ", ".join(models)
        raise InvalidSetting(f"{SETTING} names the model {named!r}; name one of {known} by its key")
    return Arm(found[0], int(percent))
