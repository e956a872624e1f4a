"""How clients are connected: settings that all share, logins that change, and where their log lines go."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from sluice.errors import InvalidSetting, SluiceError, StorageUnavailable

C = TypeVar("C", Consumer, Producer, AdminClient)
Properties = Callable[[], Mapping[str, str]]
"""Returns librdkafka properties as they are now. Never log their values: there are passwords among them."""

ANSWER_S: Final = 10.0
"""A call that the brokers have not answered by then raises StorageUnavailable."""
REQUEST_S: Final = 8.0
"""A single request is given up earlier than that, so that the error says why."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "client.id": "sluice",
    "socket.timeout.ms": int(REQUEST_S * 1e3),
    "reconnect.backoff.max.ms": 1_000,  # a broker that is back is found within a second, not ten
    "socket.nagle.disable": True,
    "socket.keepalive.enable": True,
}
_REPEAT_S: Final = 30.0
_LOGIN: Final = ("sasl.username", "sasl.password")

_log = structlog.get_logger()


class Connection:
    """Opens clients of one cluster.

    A client whose login is refused looks ``properties`` up again and goes on with the user and password that
    are there now, so that a rotated password needs no restart. It does so when it is polled. Once a client was
    opened, properties that are unusable are about to be mended or half written: that may pass.
    """

    def __init__(self, servers: str, properties: Properties) -> None:
        self._servers, self._properties = servers, properties
        self._refusal: tuple[float, KafkaError] | None = None
        self._proven = False  # properties were usable once

    def open(self, kind: Callable[[dict[str, Any]], C], settings: Mapping[str, Any]) -> C:
        """Return a client.

        Raises :class:`InvalidSetting` for a property that it does not accept, :class:`StorageUnavailable` if one was
        opened before.
        """
        try:
            client = self._opened(kind, settings)
        except InvalidSetting as error:
            if self._proven:
                raise StorageUnavailable(f"no connection to Kafka can be opened now: {error}") from error
            raise
        self._proven = True
        return client

    def _opened(self, kind: Callable[[dict[str, Any]], C], settings: Mapping[str, Any]) -> C:
        try:
            login = _Login(self._properties)
        except ValueError:  # it may quote them
            raise InvalidSetting("the properties of the brokers are no text; correct the file") from None

        def heard(error: KafkaError) -> None:
            if error.code() == KafkaError._AUTHENTICATION:
                self._refusal = (time.monotonic(), error)
                # In a thread of its own: a call into the client from its callback ends the process.
                with suppress(RuntimeError):  # no more threads now: it is refused again, and heard again
                    threading.Thread(target=login.renew, name="kafka-login", daemon=True).start()

        own = {**settings, "bootstrap.servers": self._servers, "error_cb": heard, "logger": _Lines()}
        try:
            client = kind({**_DEFAULTS, **login.properties, **own})
        except (KafkaException, ValueError, TypeError) as error:
            raise InvalidSetting(_refused(error, login.properties)) from None  # it may quote a value
        login.client = client
        return client

    def cause(self, error: KafkaError) -> KafkaError:
        """Return why ``error`` came: a refused login, if one was while it was waited for, shows as a timeout."""
        if self._refusal is None or time.monotonic() - self._refusal[0] > ANSWER_S:
            return error
        return self._refusal[1]


class _Login:
    """The user and password that one client uses."""

    def __init__(self, properties: Properties) -> None:
        self._look_up = properties
        self.properties = dict(properties())
        self.client: Any = None

    def renew(self) -> None:
        try:
            now = dict(self._look_up())
        except (SluiceError, ValueError) as error:
            _log.error("properties of the brokers cannot be read", reason=str(error))
            return
        user, password = (now.get(name) for name in _LOGIN)
        if self.client is None or not user or password is None:
            return
        if [now.get(name) for name in _LOGIN] != [self.properties.get(name) for name in _LOGIN]:
            try:
                self.client.set_sasl_credentials(user, password)
            except (KafkaException, RuntimeError):  # closed meanwhile
                return
            self.properties = now
            _log.info("login at the brokers renewed", user=user)


def _refused(error: Exception, properties: Mapping[str, str]) -> str:
    """Say which property the client refused, if it is one of the user's, without its value."""
    named = [name for name in properties if f'"{name}"' in str(error)]
    which = named[0] if named else "SLUICE_KAFKA or a property"
    return f"{which} is not accepted by the Kafka client; correct it (SLUICE_KAFKA_PROPERTIES_FILE holds properties)"


class _Lines:
    """Takes librdkafka's log lines as a :mod:`logging` logger would.

    The client retries nearly all it complains of, and what it gives up is raised: its errors are warnings here,
    each told again after a while only.
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def log(self, level: int, form: str, *values: object) -> None:
        """Tell one line; never raises, for it would be out of whatever the client is doing."""
        with suppress(Exception):
            self._tell(level, form % values)

    def _tell(self, level: int, detail: str) -> None:
        what, now = detail.partition(" (after ")[0], time.monotonic()
        if now - self._told.get(what, -_REPEAT_S) < _REPEAT_S:
            return
        self._told = {line: at for line, at in self._told.items() if now - at < _REPEAT_S} | {what: now}
        tell = _log.debug
        if level >= logging.ERROR:
            tell = _log.warning
        elif level >= logging.WARNING:
            tell = _log.info
        tell("Kafka client reports", detail=detail)
