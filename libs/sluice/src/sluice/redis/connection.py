"""The connection to Redis: every call bounded in time, none tried while Redis does not answer."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from sluice import instruments, metrics
from sluice.circuit import Circuit
from sluice.credentials import Credential
from sluice.errors import InvalidSetting, SluiceError, StorageUnavailable

TIMEOUT_S: Final = 0.25
"""The longest a connect and the longest a reply may take."""
REST_S: Final = 0.5
"""After a failure nobody waits for Redis for so long."""
REMIND_S: Final = 60.0
_LOGIN: Final = ("username", "password")

T = TypeVar("T")
_log = structlog.get_logger()
_UP = instruments.gauge(metrics.CACHE_UP)


class _Refused(SluiceError):
    """Redis answers, but not this command: it is full, say, or the user may not."""


class _Login(redis.CredentialProvider):
    """User and password as the URL has them when a connection is made: a rotated password needs no restart."""

    def __init__(self, url: Credential) -> None:
        self._url = url

    def get_credentials(self) -> tuple[str, ...]:  # type: ignore[override]  # none is right without a password
        """Return them; nothing if the URL has no password."""
        options = _options(self._url())
        return tuple(options[name] for name in _LOGIN if name in options) if "password" in options else ()


class RedisConnection:
    """Connects when first used; thread safe, made after the fork.

    ``url`` is ``redis://`` or ``rediss://`` with redis-py's query options, such as ``ssl_ca_certs`` or
    ``socket_timeout``; it is looked up anew for each new connection. Raises :class:`InvalidSetting` for one that is
    unusable now; if it becomes so later, Redis is as good as gone.
    """

    def __init__(self, url: Credential, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._lock = threading.Lock()
        self._made_of = url()
        self._client = _client(self._made_of, url)
        self._circuit = Circuit(REST_S, clock, self._tell)
        self._remind_at = clock()
        _UP.set(1)

    def run(self, work: Callable[["redis.Redis"], T]) -> T:
        """Return what ``work`` does with a client, which it must not keep.

        Raises :class:`StorageUnavailable`, at once for half a second after Redis did not answer.
        """
        try:
            return self._circuit.through(lambda: self._try(work))
        except _Refused as error:
            raise StorageUnavailable(str(error)) from error

    def close(self) -> None:
        """Give connections back."""
        self._client.close()

    def _try(self, work: Callable[["redis.Redis"], T]) -> T:
        try:
            return work(self._current())
        except redis.ResponseError as error:
            raise self._refused(error) from error
        except redis.AuthenticationError as error:
            raise StorageUnavailable("Redis refuses the login; check the password of its URL") from error
        except redis.RedisError as error:
            raise StorageUnavailable(
                f"Redis does not answer ({type(error).__name__}); check that it runs"
            ) from error
        except InvalidSetting as error:
            raise StorageUnavailable(str(error)) from error

    def _current(self) -> "redis.Redis":
        """Return the client, after a failure another one if the URL is another by now."""
        if self._circuit.reason is None:
            return self._client
        with self._lock:
            url = self._url()
            if url != self._made_of:
                made = _client(url, self._url)
                self._client.close()
                self._client, self._made_of = made, url
            return self._client

    def _refused(self, error: redis.ResponseError) -> _Refused:
        if self._clock() >= self._remind_at:
            self._remind_at = self._clock() + REMIND_S
            _log.warning("cache refuses commands", kind=type(error).__name__)
        return _Refused(f"Redis refuses a command ({type(error).__name__}); check its memory and permissions")

    def _tell(self, reason: str | None) -> None:
        _UP.set(0 if reason else 1)
        if reason:
            _log.warning("cache is passed over until it answers", reason=reason)
        else:
            _log.info("cache answers again")


def _client(text: str, url: Credential) -> "redis.Redis":
    """Return a client that has not connected; raises :class:`InvalidSetting`, never with the URL in it."""
    options = {name: value for name, value in _options(text).items() if name not in _LOGIN}
    try:
        pool = redis.ConnectionPool(**(_bounded() | options), credential_provider=_Login(url))
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError):
        raise InvalidSetting(
            "SLUICE_REDIS_URL has an option that redis-py does not take; correct it"
        ) from None
    return redis.Redis.from_pool(pool)  # closing it closes the pool


def _bounded() -> dict[str, Any]:
    """Return what makes a connection fail soon, instead of trying again, and send nothing but commands."""
    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,
    }


def _options(text: str) -> dict[str, Any]:
    try:
        return dict(parse_url(text))  # type: ignore[no-untyped-call]
    except ValueError:  # its message may hold a part of the password
        raise InvalidSetting("SLUICE_REDIS_URL is not a Redis URL; write redis://host:6379/0") from None
