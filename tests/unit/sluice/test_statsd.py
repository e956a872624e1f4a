"""Metrics leave as gains and values, several to a datagram, and a daemon that is away costs nothing."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sluice.errors import InvalidSetting
from sluice.metrics import Process
from sluice.statsd import DATAGRAM_BYTES, Pusher, Statsd, address_of, datagrams, line


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(5.0)
        yield bound


def received(daemon: socket.socket) -> list[str]:
    """Everything sent before: on the loopback it is there when the sender returns."""
    lines = []
    daemon.settimeout(5.0)
    while True:
        try:
            lines += daemon.recv(65_536).decode().splitlines()
        except (BlockingIOError, TimeoutError):
            return lines
        daemon.setblocking(False)


def pushed_to(daemon: socket.socket, registry: CollectorRegistry, worker: str = "") -> Statsd:
    return Statsd(daemon.getsockname(), {"service": "test"}, registry, worker)


def test_a_counter_sends_what_it_gained_since_the_last_push(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", ["kind"], registry=registry)
    statsd = pushed_to(daemon, registry)
    counter.labels("a").inc(3)
    statsd.push()
    assert received(daemon) == ["sluice_things_total:3|c|#kind:a,service:test"]
    counter.labels("a").inc(0.5)
    counter.labels("b").inc()
    statsd.push()
    assert received(daemon) == [
        "sluice_things_total:0.5|c|#kind:a,service:test",
        "sluice_things_total:1|c|#kind:b,service:test",
    ]


def test_what_was_counted_before_the_start_is_no_gain(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", registry=registry)
    counter.inc(1_000_000)
    statsd = pushed_to(daemon, registry)
    counter.inc(2)
    statsd.push()
    assert received(daemon) == ["sluice_things_total:2|c|#service:test"]


def test_a_gauge_is_sent_every_time_and_names_its_worker(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    Gauge("sluice_level", "Level.", registry=registry).set(12.25)
    statsd = pushed_to(daemon, registry, worker="7")
    statsd.push()
    statsd.push()
    assert received(daemon) == ["sluice_level:12.25|g|#service:test,worker:7"] * 2


def test_a_histogram_sends_the_gains_of_its_count_sum_and_buckets(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("sluice_work_seconds", "Work.", registry=registry, buckets=(0.1, 1.0))
    statsd = pushed_to(daemon, registry)
    histogram.observe(0.5)
    statsd.push()
    assert received(daemon) == [
        "sluice_work_seconds_bucket:1|c|#le:1.0,service:test",
        "sluice_work_seconds_bucket:1|c|#le:+Inf,service:test",
        "sluice_work_seconds_count:1|c|#service:test",
        "sluice_work_seconds_sum:0.5|c|#service:test",
    ]


def test_only_sluices_own_metrics_go(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    Gauge("process_things", "Not ours.", registry=registry).set(1)
    Gauge("sluice_level", "Ours.", registry=registry).set(1)
    pushed_to(daemon, registry).push()
    assert received(daemon) == ["sluice_level:1|g|#service:test"]


def test_gains_wait_while_the_address_cannot_be_resolved(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", registry=registry)
    statsd = pushed_to(daemon, registry)
    counter.inc()

    def no_such_host(*_: object, **__: object) -> None:
        raise socket.gaierror("no such host")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", no_such_host)
        with pytest.raises(OSError, match="no such host"):
            statsd.push()
    counter.inc()
    statsd.push()
    assert received(daemon) == ["sluice_things_total:2|c|#service:test"]


def test_a_datagram_that_is_lost_lets_no_other_count_twice(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", ["kind"], registry=registry)
    statsd = pushed_to(daemon, registry)
    kinds = [f"{number:03}" for number in range(100)]
    for kind in kinds:
        counter.labels(kind).inc()
    sent, real = [], socket.socket.sendto

    class SecondFails(socket.socket):
        def sendto(self, *arguments: Any) -> int:
            sent.append(arguments)
            if len(sent) == 2:
                raise BlockingIOError(11, "the buffer is full")
            return real(self, *arguments)

    monkeypatch.setattr(socket, "socket", SecondFails)
    for _ in range(2):
        with suppress(OSError):
            statsd.push()
    lines = received(daemon)
    assert len(sent) > 2
    assert len(lines) == len(set(lines)), "each gain at most once"


def test_a_daemon_that_is_away_costs_nothing(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", registry=registry)
    address = daemon.getsockname()
    daemon.close()
    statsd = Statsd(address, {}, registry)
    for _ in range(3):
        counter.inc()
        statsd.push()


def test_what_is_left_goes_when_a_process_ends(daemon: socket.socket) -> None:
    registry = CollectorRegistry()
    counter = Counter("sluice_things", "Things.", registry=registry)
    host, port = daemon.getsockname()
    with Pusher(f"{host}:{port}", Process.FAISS, registry):
        counter.inc(4)
    assert received(daemon) == ["sluice_things_total:4|c|#service:faiss"]


def test_without_an_address_nothing_is_sent() -> None:
    with Pusher("", Process.FAISS, CollectorRegistry()):
        pass


def test_datagrams_are_filled_up_to_their_limit() -> None:
    lines = [f"sluice_things_total:{number}|c|#kind:{'x' * 40}" for number in range(100)]
    sent = list(datagrams(lines))
    assert [each for datagram in sent for each in datagram.decode().splitlines()] == lines
    assert max(map(len, sent)) <= DATAGRAM_BYTES
    assert min(map(len, sent[:-1])) > DATAGRAM_BYTES - 80


def test_a_line_longer_than_a_datagram_goes_alone() -> None:
    assert list(datagrams(["a", "b" * 20, "c"], limit=10)) == [b"a", b"b" * 20, b"c"]


def test_a_label_cannot_break_out_of_its_tag() -> None:
    assert line(("sluice_x", (("route", "a|c\n#b,c d"),)), 1, "g") == "sluice_x:1|g|#route:a_c__b_c_d"


@pytest.mark.parametrize(
    ("text", "address"), [("localhost:8125", ("localhost", 8125)), ("[::1]:9", ("::1", 9))]
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["localhost", ":8125", "host:", "host:0", "host:70000", "host:x"])
def test_an_unusable_address_names_the_setting(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"SLUICE_STATSD is .* write host:port"):
        address_of(text)
