"""`sluice prepare`: topics are made once, with equal partition counts, and what exists is left as it is."""

from pathlib import Path

import pytest

from sluice import prepare
from sluice.embedded.log import EmbeddedLog
from sluice.errors import StorageUnavailable
from sluice.settings import Settings
from sluice.topics import topics_of

TOPICS = topics_of("shop")


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    return EmbeddedLog(tmp_path / "log.db")


def test_the_log_is_closed_whatever_happens(log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Backing:
        shared = False

        def __init__(self, _settings: object) -> None:
            pass

        def log(self, _source: str) -> EmbeddedLog:
            return log

    def away(_topic: str) -> list[int]:
        raise StorageUnavailable("the broker is away")

    monkeypatch.setattr(prepare, "Backing", Backing)
    monkeypatch.setattr(log, "partitions", away)
    monkeypatch.setattr(log, "close", lambda: closed.append(log))
    with pytest.raises(StorageUnavailable):
        prepare.prepare_names(Settings(kafka="localhost:9092"), ["shop"], [])
    assert closed == [log]


def test_all_topics_of_a_source_are_made_with_as_many_partitions(log: EmbeddedLog) -> None:
    told = list(prepare.topics(log, "shop", 6))
    assert [each.sentence for each in told] == [
        "topic shop.interactions: created, 6 partitions",
        "topic shop.answers: created, 6 partitions",
        "topic shop.items: created, 6 partitions, compacted",
        "topic shop.users: created, 6 partitions, compacted",
        "topic shop.interactions.dlt: created, 6 partitions",
    ]
    assert {len(log.partitions(topic)) for topic in TOPICS} == {6}


def test_doing_it_again_changes_nothing_whatever_is_asked(log: EmbeddedLog) -> None:
    list(prepare.topics(log, "shop", 6))
    told = list(prepare.topics(log, "shop", 12))
    assert {each.sentence.partition(": ")[2] for each in told} == {"exists, 6 partitions"}
    assert not any(each.warning for each in told)
    assert {len(log.partitions(topic)) for topic in TOPICS} == {6}


def test_what_is_missing_gets_as_many_partitions_as_what_exists(log: EmbeddedLog) -> None:
    log.create_topics({TOPICS.interactions: 4})
    assert not any(each.warning for each in prepare.topics(log, "shop", 6))
    assert {len(log.partitions(topic)) for topic in TOPICS} == {4}


def test_unequal_partition_counts_are_one_warning(log: EmbeddedLog) -> None:
    log.create_topics({TOPICS.interactions: 4, TOPICS.items: 2})
    [warning] = [each.sentence for each in prepare.topics(log, "shop", 6) if each.warning]
    assert warning.startswith(
        "the topics of source shop differ in partitions (shop.interactions 4, shop.items 2)"
    )


def configured(**of: dict[str, str]) -> dict[str, dict[str, str]]:
    """Topics as ``sluice prepare`` makes them, but for what ``of`` says."""
    made = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    compacted = made | {"cleanup.policy": "compact"}
    found = {"items": compacted, "users": compacted, "interactions": made, "answers": made}
    return {f"shop.{name}": settings | of.get(name, {}) for name, settings in found.items()}


def test_topics_as_they_are_made_are_no_warning() -> None:
    assert list(prepare._judge(TOPICS, configured())) == []


@pytest.mark.parametrize(
    ("topic", "setting", "value", "wanted"),
    [
        ("items", "cleanup.policy", "delete", "cleanup.policy=compact"),
        ("users", "cleanup.policy", "delete", "cleanup.policy=compact"),
        ("interactions", "message.timestamp.type", "CreateTime", "message.timestamp.type=LogAppendTime"),
        ("answers", "message.timestamp.type", "CreateTime", "message.timestamp.type=LogAppendTime"),
    ],
)
def test_a_topic_that_is_configured_otherwise_is_a_warning_that_says_what_to_set(
    topic: str, setting: str, value: str, wanted: str
) -> None:
    [told] = prepare._judge(TOPICS, configured(**{topic: {setting: value}}))
    assert told.warning
    assert told.sentence.startswith(f"topic shop.{topic} has {setting}={value}")
    assert told.sentence.endswith(f"set {wanted}")


@pytest.mark.parametrize("topic", ["items", "users"])
def test_times_of_compacted_topics_are_nobodys_concern(topic: str) -> None:
    assert list(prepare._judge(TOPICS, configured(**{topic: {"message.timestamp.type": "CreateTime"}}))) == []
