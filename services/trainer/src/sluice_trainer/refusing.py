"""What a learner cannot take: found by halving, so that the other events are learned all the same."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from sluice_trainer.learners.batches import take
from sluice_trainer.learners.protocol import Interactions, Learner, NonFiniteLoss


class Refused(NamedTuple):
    """An accepted event that the learner cannot take; ``key`` is the event's."""

    key: int
    detail: str


def learn(learner: Learner, batch: Interactions, users: int, items: int) -> list[Refused]:
    """Learn a batch and return what could not be: it is halved until only the guilty events are left out."""
    try:
        learner.learn(batch, users, items)
    except NonFiniteLoss as error:
        events = len(batch.keys)
        if events <= 1:
            return [Refused(int(key), str(error)) for key in batch.keys]
        early, late = take(batch, slice(0, events // 2)), take(batch, slice(events // 2, events))
        return learn(learner, early, users, items) + learn(learner, late, users, items)
    return []


def fit(learner: Learner, history: Interactions, users: int, items: int) -> list[Refused]:
    """Train from scratch and return what could not be learned.

    If the learner refuses the history, it learns it in order instead, which tells the guilty events, and is
    then trained on the others. Should it refuse even these, what it learned in order stays.
    """
    try:
        learner.fit(history, users, items)
    except NonFiniteLoss:
        learner.fit(take(history, slice(0, 0)), users, items)
        refused = learn(learner, history, users, items)
        guilty = np.isin(history.keys, np.array([each.key for each in refused], dtype=np.uint64))
        with suppress(NonFiniteLoss):  # then what was learned in order stays
            learner.fit(take(history, np.flatnonzero(~guilty)), users, items)
        return refused
    return []
