"""The addresses of a name as pods: ``dns+http://home-faiss-pods:8081`` of a headless Service, looked up every second.

Addresses are looked up in a thread of its own, so no request waits for a name server.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

import structlog

from sluice.loops import Loop
from sluice_recommender.api.pods import Pods

SCHEME: Final = "dns+http://"
LOOKED_UP_S: Final = 1.0
FIRST_S: Final = 2.0
"""How long a start waits for the first addresses."""
_EMPTY: Final = (socket.EAI_NONAME, socket.EAI_NODATA)
"""The name is not there, or has no address: what a name server says of a headless Service without ready pods."""
_log = structlog.get_logger()

Resolve = Callable[[str, int], Sequence[str]]


def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name in order, of one family; none if there are none for certain.

    Raises OSError while nobody knows. A pod of a dual-stack Service has one of each family: it counts once.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _EMPTY:
            return []
        raise
    family = min(family for family, *_ in found)
    return sorted({str(where[0]) for each, *_, where in found if each == family})


class Discovery:
    """Keeps ``pods`` at what ``urls`` name: fixed ones, and every address of those with the scheme ``dns+http``.

    A look-up that fails keeps the addresses it found before. With ``keep_last`` so does one that finds none: pods
    that are gone rest, and one that the name server forgot goes on answering.
    """

    def __init__(
        self, pods: Pods, urls: Sequence[str], *, keep_last: bool, resolve: Resolve = addresses
    ) -> None:
        self.pods, self._urls, self._keep_last, self._resolve = pods, urls, keep_last, resolve
        self._known: dict[str, list[str]] = {}
        self._one_at_a_time = threading.Lock()

    def look(self) -> None:
        """Look all names up once; pods are replaced only if that gave others."""
        with self._one_at_a_time:  # the first look-up may last into the next one
            found = [self._look_up(url) for url in self._urls if url.startswith(SCHEME)]
            if any(found):
                self.pods.replace([each for url in self._urls for each in self._known.get(url, fixed([url]))])

    def _look_up(self, url: str) -> bool:
        """Look one name up; return whether it has other addresses now."""
        parts = urlsplit(url)
        port = parts.port or 80
        try:
            found = self._resolve(parts.hostname or "", port)
        except OSError as error:
            _log.debug("name not looked up, its addresses stay", name=parts.hostname, reason=str(error))
            return False
        urls = [f"http://{_bracketed(address)}:{port}{parts.path}" for address in found]
        if urls == self._known.get(url, []) or (self._keep_last and not urls):
            return False
        _log.info("addresses changed", name=parts.hostname, count=len(urls))
        self._known[url] = urls
        return True


def has_names(urls: Iterable[str]) -> bool:
    """Return whether some of the URLs are to be looked up."""
    return any(url.startswith(SCHEME) for url in urls)


def fixed(urls: Iterable[str]) -> list[str]:
    """Return the URLs that are not to be looked up."""
    return [url for url in urls if not url.startswith(SCHEME)]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def begin(discoveries: Sequence[Discovery], within_s: float = FIRST_S) -> list[Loop]:
    """Return the running loops that look up again and again; the first look-ups are waited for so long."""
    until = time.monotonic() + within_s
    loops = [Loop("addresses", LOOKED_UP_S, each.look) for each in discoveries]
    first = [threading.Thread(target=loop.once, daemon=True, name="first addresses") for loop in loops]
    for thread in first:
        thread.start()
    for thread in first:
        thread.join(max(0.0, until - time.monotonic()))
    for loop in loops:
        loop.start()
    return loops
