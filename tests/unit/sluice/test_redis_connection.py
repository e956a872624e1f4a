"""The connection to Redis, as far as it needs no server."""

import socket
import time

import pytest
from structlog.testing import capture_logs

from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.redis.connection import REST_S, RedisConnection

SECRET = "p4ss-w0rd"


@pytest.fixture
def refusing():
    """An address where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def silent():
    """An address where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def ping(client):
    return client.ping()


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@host",
        SECRET,
        "",
        f"redis://:{SECRET}@host/0?no_such_option=1",
        f"redis://:{SECRET}@host/0?max_connections=-1",
        f"redis://:{SECRET}@host/0?socket_timeout={SECRET}",
        f"redis://:x/{SECRET}@host",
        f"redis://host/0?ssl_ca_certs=/{SECRET}",
    ],
)
def test_an_unusable_url_is_refused_at_once_and_not_shown(url):
    with pytest.raises(InvalidSetting, match="SLUICE_REDIS_URL") as refused:
        RedisConnection(lambda: url)
    error = refused.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://user:word@host:1/2?socket_timeout=1.5&health_check_interval=9",
        "rediss://host/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock",
    ],
)
def test_nothing_is_connected_before_it_is_used(url):
    RedisConnection(lambda: url).close()


def test_an_outage_is_told_once_without_the_password(refusing):
    connection = RedisConnection(lambda: f"redis://user:{SECRET}@{refusing}/0")
    with capture_logs() as lines:
        for _ in range(20):
            with pytest.raises(StorageUnavailable) as refused:
                connection.run(ping)
            assert SECRET not in repr(refused.value)
            assert refusing not in repr(refused.value)
    assert [line["event"] for line in lines] == ["cache is passed over until it answers"]
    assert SECRET not in repr(lines)


def test_one_call_waits_for_a_silent_redis_and_the_next_ones_do_not(silent):
    connection = RedisConnection(lambda: f"redis://{silent}/0")
    took = []
    for _ in range(50):
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            connection.run(ping)
        took.append(time.monotonic() - began)
    assert took[0] < 1.0
    assert sum(took[1:]) < 0.2


def test_it_is_tried_again_after_a_rest(refusing):
    now, tries = [0.0], []

    def work(client):
        tries.append(client)
        return client.ping()

    connection = RedisConnection(lambda: f"redis://{refusing}/0", clock=lambda: now[0])
    for now[0] in (0.0, 0.1, REST_S, REST_S + 0.1, 2 * REST_S):
        with pytest.raises(StorageUnavailable):
            connection.run(work)
    assert len(tries) == 3


def test_a_url_that_cannot_be_read_any_more_is_an_outage_too(refusing):
    urls, now = [f"redis://{refusing}/0"], [0.0]

    def url():
        if not urls:
            raise InvalidSetting("SLUICE_REDIS_URL_FILE cannot be read: no such file; check its mount")
        return urls[0]

    connection = RedisConnection(url, clock=lambda: now[0])
    urls.clear()
    for now[0], reason in ((0.0, "does not answer"), (REST_S, "SLUICE_REDIS_URL_FILE")):
        with pytest.raises(StorageUnavailable, match=reason):
            connection.run(ping)
    urls.append("nonsense")
    now[0] = 2 * REST_S
    with pytest.raises(StorageUnavailable, match="not a Redis URL"):
        connection.run(ping)
