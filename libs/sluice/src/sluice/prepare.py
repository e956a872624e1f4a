"""Makes topics and indexes for models of one source; what exists is left as it is. Doing it again changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple

from sluice import credentials
from sluice.backing import Backing
from sluice.errors import StorageUnavailable
from sluice.events import EventLog
from sluice.model import RecommenderModel
from sluice.settings import Settings
from sluice.topics import Topics, topics_of

PARTITIONS: Final = 6


class Told(NamedTuple):
    """What was done or found, in one sentence; a ``warning`` asks somebody to act."""

    sentence: str
    warning: bool = False


def prepare(
    settings: Settings, models: Sequence[RecommenderModel], partitions: int = PARTITIONS
) -> list[Told]:
    """Prepare what ``settings`` name for ``models``; new topics get so many partitions each.

    Raises :class:`~sluice.errors.StorageUnavailable` where a server does not answer.
    """
    sources = dict.fromkeys(model.spec.source.name for model in models)
    return prepare_names(settings, list(sources), [model.key for model in models], partitions)


def prepare_names(
    settings: Settings, sources: Sequence[str], models: Sequence[str], partitions: int = PARTITIONS
) -> list[Told]:
    """Do what :func:`prepare` does, for sources and models (``<namespace>.<name>``) known by name only."""
    backing, told = Backing(settings), list[Told]()
    for source in sources:
        if settings.kafka:
            with closing(backing.log(source)) as log:
                told += topics(log, source, partitions)
            told += _policies(settings, topics_of(source))
    if backing.shared:
        told += _indexes(settings, sources, models)
    return told


def topics(log: EventLog, source: str, partitions: int) -> Iterator[Told]:
    """Create the topics of ``source`` that are missing, with as many partitions as those that exist have."""
    names = topics_of(source)
    compacted = {names.items, names.users}
    found = {topic: len(log.partitions(topic)) for topic in names}
    there = {topic: count for topic, count in found.items() if count}
    wanted = there.get(names.interactions) or max(there.values(), default=partitions)
    missing = {topic: wanted for topic in names if topic not in there}
    if missing:
        log.create_topics(missing, compacted & missing.keys())
    for topic in names:
        kind = ", compacted" if topic in compacted and topic in missing else ""
        done = "created" if topic in missing else "exists"
        yield Told(f"topic {topic}: {done}, {there.get(topic, wanted)} partitions{kind}")
    if len(set(there.values())) > 1:
        counts = ", ".join(f"{topic} {count}" for topic, count in there.items())
        yield Told(
            f"the topics of source {source} differ in partitions ({counts}); give all of them the greatest number,"
            " or several profiles processes cannot share them",
            warning=True,
        )


def _policies(settings: Settings, names: Topics) -> Iterator[Told]:
    """Warn of existing topics that are not configured as their readers need."""
    from sluice.kafka.connection import Connection
    from sluice.kafka.policies import policies

    connection = Connection(settings.kafka, partial(credentials.properties, settings.kafka_properties_file))
    topics = [names.items, names.users, names.interactions, names.answers]
    try:
        found = policies(connection, topics)
    except StorageUnavailable as error:  # a user may lack the right, and need not have it
        yield Told(
            f"make sure that {names.items} and {names.users} are compacted and that {names.interactions} and"
            f" {names.answers} have message.timestamp.type=LogAppendTime, for {error}",
            warning=True,
        )
        return
    yield from _judge(names, found)


def _judge(names: Topics, found: Mapping[str, Mapping[str, str]]) -> Iterator[Told]:
    """Warn of topics that forget what late readers must know, or whose times are not the log's."""
    for topic in (names.items, names.users):
        if "compact" not in (policy := found[topic]["cleanup.policy"]):
            yield Told(
                f"topic {topic} has cleanup.policy={policy}, so that its oldest records are forgotten; set"
                " cleanup.policy=compact",
                warning=True,
            )
    for topic in (names.interactions, names.answers):
        if (kind := found[topic]["message.timestamp.type"]) != "LogAppendTime":
            yield Told(
                f"topic {topic} has message.timestamp.type={kind}, so that producers' clocks decide which answer"
                " an interaction is credited to; set message.timestamp.type=LogAppendTime",
                warning=True,
            )


def _indexes(settings: Settings, sources: Sequence[str], models: Sequence[str]) -> Iterator[Told]:
    from sluice.mongo.database import MongoDatabase
    from sluice.mongo.models import prepare_model
    from sluice.mongo.sources import prepare_source

    url = credentials.credential(settings.mongo_url, settings.mongo_url_file, "SLUICE_MONGO_URL")
    assert url is not None
    database = MongoDatabase(url, settings.mongo_database)
    try:
        for source in sources:
            prepare_source(database, source)
            yield Told(f"database {settings.mongo_database}: indexes of source {source} are there")
        for model in models:
            prepare_model(database, model)
            yield Told(f"database {settings.mongo_database}: indexes of model {model} are there")
    finally:
        database.close()
