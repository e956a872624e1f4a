"""Opening clients while their properties change, and what the client calls back: that never raises."""

import logging
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.kafka import connection
from sluice.kafka.connection import Connection


class Client:
    def __init__(self, settings) -> None:
        self.settings = settings
        if settings.get("ssl.ca.location") == "/missing":
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, "ssl.ca.location"))


class Properties:
    def __init__(self) -> None:
        self.found, self.error = {"sasl.username": "u", "sasl.password": "p"}, None

    def __call__(self):
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def properties():
    return Properties()


UNUSABLE = {
    "a file that cannot be read": lambda given: setattr(given, "error", InvalidSetting("cannot be read")),
    "a file that is no text": lambda given: setattr(
        given, "error", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    ),
    "a property that is refused": lambda given: setattr(given, "found", {"ssl.ca.location": "/missing"}),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_properties_that_were_usable_once_may_be_so_again(properties, kind):
    opening = Connection("broker:9092", properties)
    opening.open(Client, {})
    UNUSABLE[kind](properties)
    with pytest.raises(StorageUnavailable, match="no connection to Kafka can be opened now"):
        opening.open(Client, {})
    properties.error, properties.found = None, {}
    assert isinstance(opening.open(Client, {}), Client)


@pytest.mark.parametrize("kind", UNUSABLE)
def test_properties_that_never_were_usable_are_a_wrong_setting(properties, kind):
    UNUSABLE[kind](properties)
    with pytest.raises(InvalidSetting):
        Connection("broker:9092", properties).open(Client, {})


def test_a_refused_login_is_heard_without_raising_although_no_thread_can_be_started(properties, monkeypatch):
    def start(thread) -> None:
        raise RuntimeError("can't start new thread")

    opening = Connection("broker:9092", properties)
    client = opening.open(Client, {})
    monkeypatch.setattr(threading.Thread, "start", start)
    refused = KafkaError(KafkaError._AUTHENTICATION)
    client.settings["error_cb"](refused)
    assert opening.cause(KafkaError(KafkaError._TIMED_OUT)) is refused


def test_a_log_line_that_cannot_be_told_does_not_raise(properties, monkeypatch):
    class Broken:
        def __getattr__(self, _name):
            raise BrokenPipeError

    lines = Connection("broker:9092", properties).open(Client, {}).settings["logger"]
    lines.log(logging.ERROR, "%s %s", "one value")
    monkeypatch.setattr(connection, "_log", Broken())
    lines.log(logging.ERROR, "%s", "detail")
