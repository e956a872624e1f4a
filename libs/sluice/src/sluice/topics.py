"""Names of a source's topics, of consumer groups, and of who owns what."""

from typing import NamedTuple


class Topics(NamedTuple):
    """The topics of one source."""

    interactions: str
    answers: str
    items: str
    users: str
    dead_letters: str


def topics_of(source: str) -> Topics:
    """Return the topic names of a source, ``<source>.interactions`` and so on."""
    return Topics(
        f"{source}.interactions",
        f"{source}.answers",
        f"{source}.items",
        f"{source}.users",
        f"{source}.interactions.dlt",
    )


def profiles_group(source: str) -> str:
    """Return the consumer group of a source's profiles processes."""
    return f"sluice-profiles.{source}"


def trainer_group(model: str) -> str:
    """Return the group under which a model's trainer notes its position."""
    return f"sluice-trainer.{model}"
