"""What connections hold together."""

import socket

import pytest
from gunicorn.config import Config

from sluice.web import held
from sluice.web.connections import ARRIVING, LEAVING, Connection, refusal
from sluice.web.gather import Refused
from sluice.web.held import Held, longest_first

PART = b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def connect():
    """Return what makes a connection and its client's end."""
    sockets = []

    def made(since=0.0):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sockets.extend((ours, theirs))
        return Connection(ours, ("192.0.2.1", 1), ("192.0.2.2", 2), Config(), since), theirs

    yield made
    for each in sockets:
        each.close()


def test_a_connection_holds_what_it_waits_for_and_what_is_not_taken(connect):
    connection, client = connect()
    client.sendall(PART + b"x" * 1_000)
    connection.receive()
    assert connection.held == len(PART) + 1_000
    answer = b"y" * (8 << 20)
    connection.send(answer)
    untaken = connection.held - len(PART) - 1_000
    assert 4 << 20 < untaken < len(answer), "the kernel took the rest"


def test_who_is_refused_holds_its_request_no_longer(connect):
    connection, client = connect()
    client.sendall(PART + b"x" * 1_000)
    connection.receive()
    connection.send(refusal(Refused(503, "busy", "try again")), last=True)
    assert connection.held == 0


def test_the_sum_follows_each_connection_until_it_is_closed(connect, monkeypatch):
    monkeypatch.setattr(held, "HELD_BYTES", 1_600)
    together, connections = Held(), [connect() for _ in range(2)]
    told = []
    for connection, client in connections * 2:
        client.sendall(b"x" * 500)
        connection.receive()
        told.append(together.count(connection))
    assert told == [False, False, False, True]
    first, second = (connection for connection, _ in connections)
    assert (together.count(first), together.too_much) == (False, True), "it has not grown"
    second.gathering.clear()
    assert (together.count(second), together.too_much, together.enough_room) == (False, False, True)
    together.forget(first)
    assert first.counted == 0


def test_those_that_hold_something_end_by_how_long_they_wait(connect):
    together, connections = Held(), []
    for since, phase, holds in (
        (3, LEAVING, True),
        (1, LEAVING, True),
        (0, LEAVING, False),
        (2, ARRIVING, True),
    ):
        connection, client = connect()
        if holds:
            client.sendall(b"x")
            connection.receive()
        connection.begin(phase, since)
        together.count(connection)
        connections.append(connection)
    assert [each.since for each in longest_first(connections, LEAVING)] == [1, 3]
    assert [each.since for each in longest_first(connections, ARRIVING)] == [2]
