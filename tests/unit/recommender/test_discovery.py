"""Pods that are the addresses of a name."""

import socket
import threading
import time

import pytest

from sluice_recommender.api import discovery
from sluice_recommender.api.discovery import Discovery, addresses, begin

NAME = "dns+http://home-faiss-pods:8081"


class Pods:
    """Remembers what it was given."""

    def __init__(self):
        self.urls = []

    def replace(self, urls):
        self.urls = list(urls)


class Names:
    """A name server: a list of addresses, or an error."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __call__(self, host, port):
        self.asked.append((host, port))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def looked_up(answers, *, keep_last, urls=(NAME,)):
    """Return the URLs after each look-up."""
    pods, names, seen = Pods(), Names([]), []
    keeping = Discovery(pods, urls, keep_last=keep_last, resolve=names)
    for answer in answers:
        names.answer = answer
        keeping.look()
        seen.append(pods.urls)
    return seen


def urls(*hosts):
    return [f"http://10.0.0.{host}:8081" for host in hosts]


AWAY = socket.gaierror(socket.EAI_AGAIN, "try again")


def test_every_address_is_a_pod_and_they_may_change():
    assert looked_up([["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]], keep_last=True) == [
        urls(1),
        urls(1, 2),
        urls(2),
    ]


@pytest.mark.parametrize("keep_last", [True, False])
def test_while_the_name_server_is_away_the_last_addresses_stay(keep_last):
    assert looked_up([AWAY, ["10.0.0.1"], AWAY], keep_last=keep_last) == [[], urls(1), urls(1)]


def test_a_name_without_addresses_means_no_pods_of_a_canary():
    assert looked_up([["10.0.0.1"], [], ["10.0.0.2"]], keep_last=False) == [urls(1), [], urls(2)]


def test_stable_pods_that_are_forgotten_stay_until_there_are_others():
    assert looked_up([[], ["10.0.0.1"], [], ["10.0.0.2"]], keep_last=True) == [[], urls(1), urls(1), urls(2)]


def test_fixed_urls_stay_beside_names_and_sixth_version_addresses_are_bracketed():
    [seen] = looked_up([["fd00::1"]], keep_last=True, urls=("http://one:80", "dns+http://n:1/faiss"))
    assert seen == ["http://one:80", "http://[fd00::1]:1/faiss"]


def answering(monkeypatch, *found):
    def getaddrinfo(host, port, **_):
        if isinstance(found[0], OSError):
            raise found[0]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_addresses_come_in_order_once_each_and_of_one_family(monkeypatch):
    v4, v6 = socket.AF_INET, socket.AF_INET6
    answering(monkeypatch, (v6, "fd00::2"), (v4, "10.0.0.2"), (v4, "10.0.0.1"), (v4, "10.0.0.1"))
    assert addresses("name", 8081) == ["10.0.0.1", "10.0.0.2"]
    answering(monkeypatch, (v6, "fd00::2"))
    assert addresses("name", 8081) == ["fd00::2"]


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_a_name_that_is_not_there_has_no_addresses(monkeypatch, code):
    answering(monkeypatch, socket.gaierror(code, "none"))
    assert addresses("name", 8081) == []


@pytest.mark.parametrize("error", [AWAY, socket.gaierror(socket.EAI_FAIL, "refused"), OSError(24, "files")])
def test_what_a_name_server_could_not_say_is_no_answer(monkeypatch, error):
    answering(monkeypatch, error)
    with pytest.raises(OSError, match=r"."):
        addresses("name", 8081)


def test_a_start_waits_for_the_first_addresses_but_not_for_a_silent_name_server():
    quick, slow, released = Pods(), Pods(), threading.Event()

    def silent(host, port):
        released.wait(30)
        return []

    began = time.monotonic()
    loops = begin(
        [
            Discovery(slow, [NAME], keep_last=True, resolve=silent),
            Discovery(quick, [NAME], keep_last=True, resolve=Names(["10.0.0.1"])),
        ],
        within_s=0.2,
    )
    assert quick.urls == urls(1)
    assert time.monotonic() - began < 5.0
    released.set()
    for loop in loops:
        loop.stop()


def test_it_looks_again_and_again(monkeypatch):
    monkeypatch.setattr(discovery, "LOOKED_UP_S", 0.01)
    pods, names = Pods(), Names(["10.0.0.1"])
    [loop] = begin([Discovery(pods, [NAME], keep_last=False, resolve=names)])
    names.answer = []
    deadline = time.monotonic() + 10
    while pods.urls:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    loop.stop()
