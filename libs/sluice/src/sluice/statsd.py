"""Sends this process's metrics to a statsd daemon, under the names that Prometheus scrapes.

Every ten seconds: counters as what they gained (``|c``), gauges as they are (``|g``), histograms as the gains
of ``_count``, ``_sum`` and ``_bucket``; labels as DogStatsD tags (``|#route:/v1/popular,status:200``). Each
process, and each worker of a server, sends its own, so gains of several add up; a gauge of a server with
several workers carries the tag ``worker``. UDP: a daemon that is away costs nothing.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Self

import prometheus_client
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sluice import instruments
from sluice.errors import InvalidSetting
from sluice.loops import Loop
from sluice.metrics import Process

INTERVAL_S: Final = 10.0
DATAGRAM_BYTES: Final = 1_400
PREFIX: Final = "sluice_"
_UNSAFE: Final = re.compile(r"[|,#\s@]")
_GAINS: Final = ("_total", "_count", "_sum", "_bucket")

Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]
Reading = tuple[Series, float, bool]


def readings(metrics: Iterable[Metric]) -> Iterator[Reading]:
    """Yield (series, value, whether it only ever grows) of Sluice's own metrics."""
    for metric in metrics:
        if not metric.name.startswith(PREFIX):
            continue
        for sample in metric.samples:
            grows = metric.type != "gauge"
            if not grows or sample.name.endswith(_GAINS):
                yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value, grows


def _grown(found: Iterable[Reading]) -> dict[Series, float]:
    return {series: value for series, value, grows in found if grows}


def line(series: Series, value: float, kind: str, tags: Labels = ()) -> str:
    """Return one line of the protocol.

    >>> line(("sluice_requests_total", (("status", "200"),)), 5.0, "c", (("service", "faiss"),))
    'sluice_requests_total:5|c|#status:200,service:faiss'
    """
    name, labels = series
    words = ",".join(f"{_UNSAFE.sub('_', key)}:{_UNSAFE.sub('_', word)}" for key, word in (*labels, *tags))
    return f"{name}:{value:.10g}|{kind}" + (f"|#{words}" if words else "")


def datagrams(lines: Iterable[str], limit: int = DATAGRAM_BYTES) -> Iterator[bytes]:
    """Join lines to datagrams of at most ``limit`` bytes; a longer line goes alone."""
    packed = b""
    for each in lines:
        encoded = each.encode()
        if packed and len(packed) + 1 + len(encoded) > limit:
            yield packed
            packed = b""
        packed = packed + b"\n" + encoded if packed else encoded
    if packed:
        yield packed


class Statsd:
    """Pushes what ``registry`` collects to ``address``; ``tags`` go with every line."""

    def __init__(
        self,
        address: tuple[str, int],
        tags: Mapping[str, str],
        registry: Collector = prometheus_client.REGISTRY,
        worker: str = "",
    ) -> None:
        self._address, self._registry = address, registry
        self._tags: Labels = tuple(tags.items())
        self._gauge_tags: Labels = (*self._tags, ("worker", worker)) if worker else self._tags
        self._sent = _grown(readings(registry.collect()))  # what a checkpoint brought is no gain

    def push(self) -> None:
        """Send once; raises OSError if the address cannot be resolved, and then the gains go next time.

        A datagram that cannot be sent is lost: were all sent again, the gains of the others would count twice.
        """
        now = list(readings(self._registry.collect()))
        family, kind, _, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sender:
            sender.setblocking(False)
            for datagram in datagrams(self._lines(now)):
                with contextlib.suppress(OSError):
                    sender.sendto(datagram, address)
        self._sent = _grown(now)

    def _lines(self, now: Iterable[Reading]) -> Iterator[str]:
        for series, value, grows in now:
            if not grows:
                yield line(series, value, "g", self._gauge_tags)
            elif gain := value - self._sent.get(series, 0.0):
                yield line(series, gain, "c", self._tags)


def address_of(text: str) -> tuple[str, int]:
    """Return (host, port) of ``host:port`` or ``[v6]:port``; raises :class:`InvalidSetting` for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidSetting(f"SLUICE_STATSD is {text!r}; write host:port")
    return host.strip("[]"), int(port)


class Pusher:
    """Pushes to ``text`` (``host:port``, empty = nowhere) from :meth:`start` to :meth:`stop`, or in a ``with``.

    Make it after the fork, and once a checkpoint is restored. It also lets the metrics say what process this is.
    """

    def __init__(self, text: str, process: Process, registry: Collector = prometheus_client.REGISTRY) -> None:
        """Raise :class:`InvalidSetting` if ``text`` is no address."""
        instruments.introduce(process)
        self._loop: Loop | None = None
        if text:
            worker = str(os.getpid()) if "PROMETHEUS_MULTIPROC_DIR" in os.environ else ""
            statsd = Statsd(address_of(text), {"service": process.value}, registry, worker)
            self._loop = Loop("statsd", INTERVAL_S, statsd.push)

    def start(self) -> None:
        """Begin."""
        if self._loop is not None:
            self._loop.start()

    def stop(self) -> None:
        """Push what is left and end."""
        if self._loop is not None:
            self._loop.stop()
            self._loop.once()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
