"""Slow, stalled and idle clients cost memory that is bounded, and no thread (case 29)."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from http_service import Client, Service, running

HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
SHORT = {"arriving": 1.0, "leaving": 1.0, "idle": 1.0, "closing": 0.5}


@contextmanager
def descriptors(needed: int) -> Iterator[None]:
    """Let this process have so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"only {hard} descriptors are allowed here, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def longest_answer_s(service: Service, count: int = 50) -> float:
    """Ask as another client does, each time over a new connection; return the longest time to an answer."""
    longest = 0.0
    for _ in range(count):
        began = time.monotonic()
        with service.client() as client:
            assert client.get("/healthz").status == 200
        longest = max(longest, time.monotonic() - began)
    return longest


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo", HEAD, HEAD + b"[1, 2"])
def test_many_slow_clients_delay_nobody(tmp_path: Path, sent: bytes) -> None:
    with running(tmp_path, threads=2) as service, ExitStack() as stack:
        slow = [stack.enter_context(service.client()).send(sent) for _ in range(200)]
        for _ in range(5):
            if sent:
                for client in slow:
                    client.send(b"1")
            assert longest_answer_s(service, 10) < 1.0
        assert service.sockets() >= 200, "they are still connected: it was not their end that made room"


@pytest.mark.parametrize("sent", [b"GET /healthz HTTP/1.1\r\nHo", HEAD, HEAD + b"[1, 2"])
def test_a_request_that_does_not_arrive_in_time_is_told_so_however_it_trickles(
    tmp_path: Path, sent: bytes
) -> None:
    with running(tmp_path, limits=SHORT) as service, service.client() as client:
        client.send(sent)
        for _ in range(4):  # a byte now and then does not begin the time anew
            time.sleep(0.2)
            client.send(b"1")
        answer = client.answer()
        assert (answer.status, answer.closes) == (408, True)
        assert answer.json["type"] == "urn:sluice:too-slow"
        assert client.ended()


def test_a_client_that_says_nothing_is_closed_without_a_word(tmp_path: Path) -> None:
    with running(tmp_path, limits=SHORT) as service, service.client() as new, service.client() as kept:
        assert kept.get("/healthz").status == 200
        assert new.socket.recv(100) == b""
        assert kept.socket.recv(100) == b""


def test_clients_that_do_not_read_their_answers_block_no_thread_and_are_closed(tmp_path: Path) -> None:
    with running(tmp_path, threads=2, limits=SHORT) as service, ExitStack() as stack:
        for _ in range(8):  # each answer is larger than what the kernel takes off the server's hands
            client = stack.enter_context(service.client())
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(b"GET /much HTTP/1.1\r\n\r\n")
        assert longest_answer_s(service, 10) < 1.0
        service.until(lambda: service.sockets() <= 3, "the ones that do not read are closed")


def test_answers_that_nobody_takes_hold_bounded_memory_the_longest_untaken_end(tmp_path: Path) -> None:
    with running(tmp_path, threads=2, limits={"leaving": 60.0}) as service, ExitStack() as stack:
        service.until(lambda: service.sockets() <= 2, "no client is left")
        clients = []
        for _ in range(12):
            clients.append(stack.enter_context(service.client()))
            clients[-1].send(b"GET /much HTTP/1.1\r\n\r\n")
            assert clients[-1].socket.recv(1, socket.MSG_PEEK), "it has been answered"
        service.until(lambda: service.sockets() <= 2 + 6, "those beyond 64 MiB are closed")
        with pytest.raises(ConnectionError):
            clients[0].answer()
        assert len(clients[-1].answer().body) == 16 << 20
        assert longest_answer_s(service, 10) < 1.0


def test_small_requests_that_never_end_hold_bounded_memory_and_keep_nobody_out(tmp_path: Path) -> None:
    part = b"POST /echo HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 50_000
    with running(tmp_path, held_bytes=1 << 20) as service, ExitStack() as stack:
        clients = [stack.enter_context(service.client()).send(part) for _ in range(40)]
        told = clients[0].answer()
        assert (told.status, told.closes, told.json["type"]) == (503, True, "urn:sluice:busy")
        assert clients[-1].send(b"x" * 10_000).answer().status == 400, "it is served: only its JSON is bad"
        assert longest_answer_s(service, 10) < 1.0


def test_a_slow_reader_gets_all_of_its_answer(tmp_path: Path) -> None:
    with running(tmp_path) as service, service.client() as client:
        client.send(b"GET /much HTTP/1.1\r\n\r\n")
        time.sleep(0.5)
        assert len(client.answer().body) == 16 << 20
        assert client.get("/healthz").status == 200


def test_ten_thousand_idle_connections_are_bounded_the_oldest_end_first(tmp_path: Path) -> None:
    with descriptors(11_000), running(tmp_path, connections=1_000) as service, ExitStack() as stack:
        before = service.resident_bytes()
        clients: list[Client] = []
        for number in range(10_000):
            clients.append(stack.enter_context(service.client()))
            if number % 2:
                clients[-1].send(b"GET / HTTP/1.1\r\n")
            if number % 1_000 == 999:
                assert longest_answer_s(service, 1) < 1.0
        assert service.sockets() < 1_020
        assert service.resident_bytes() - before < 32 << 20
        oldest, newest = clients[0].socket, clients[-1]
        oldest.settimeout(1.0)
        assert closed(oldest)
        assert newest.send(b"\r\n").answer().status == 404


def closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(10) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_client_that_asks_on_keeps_its_connection_while_idle_ones_come_and_go(tmp_path: Path) -> None:
    with running(tmp_path, connections=64) as service, service.client() as client, ExitStack() as stack:
        for number in range(300):
            other = stack.enter_context(service.client())
            if number % 16 == 0:  # so that never 64 are let in at once, which would make any other the oldest
                assert other.get("/healthz").status == 200
            assert client.get("/healthz").status == 200
