"""The client of Faiss pods against small servers on this machine."""

import socket
import threading
import time
from collections import deque
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sluice_recommender.api import pods as limits
from sluice_recommender.api.pods import NotHeld, Pods, Resting, SearchFailed, UnknownItem
from sluice_recommender.api.wire import CONNECT_TIMEOUT_S, MAX_ANSWER_BYTES, RESOLVED_S, Reply, Wire

FOUND = b'{"snapshot":"s1","items":[{"item_id":"a","score":0.5},{"item_id":"b","score":null}]}'


@pytest.fixture
def pod():
    """Start a pod that answers with ``status`` and ``body``; its ``asked`` counts requests."""
    servers = []

    def _pod(status=200, body=FOUND, *, hangs_up=False):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                server.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = hangs_up

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        server.asked = 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        server.url = f"http://127.0.0.1:{server.server_port}"
        return server

    yield _pod
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pods():
    """Return pods whose connections are closed in the end."""
    made = []

    def _pods(*urls, **options):
        made.append(Pods(urls, 2, **options))
        return made[-1]

    yield _pods
    for each in made:
        each.close()


def test_a_pod_that_lacks_the_snapshot_is_passed_over(pod, pods):
    lacking, holding = pod(409, b"{}"), pod()
    client = pods(lacking.url, holding.url)
    assert [client.search(b"{}") for _ in range(4)] == [[("a", 0.5)]] * 4
    assert holding.asked == 4
    assert lacking.asked == 2, "they are asked in turn"


def test_a_pod_that_is_gone_rests(pod, pods):
    holding = pod()
    client = pods("http://127.0.0.1:9", holding.url)
    assert [client.search(b"{}") for _ in range(4)] == [[("a", 0.5)]] * 4


def test_a_connection_that_the_pod_closed_is_opened_again(pod, pods):
    client = pods(pod(hangs_up=True).url)
    assert [client.search(b"{}") for _ in range(3)] == [[("a", 0.5)]] * 3


@pytest.mark.parametrize(
    ("status", "body"), [(409, b"{}"), (500, b"{}"), (302, b"{}"), (200, b"nonsense"), (200, b'{"items":1}')]
)
def test_when_every_pod_fails_the_search_fails(pod, pods, status, body):
    with pytest.raises(SearchFailed):
        pods(pod(status, body).url).search(b"{}")


def test_without_pods_nobody_was_asked(pods):
    with pytest.raises(Resting, match="no pod can be asked now"):
        pods().search(b"{}")


def test_that_no_pod_holds_the_snapshot_is_told_from_a_failure(pod, pods):
    lacking, failing = pod(409, b"{}"), pod(500, b"{}")
    with pytest.raises(NotHeld, match="409"):
        pods(lacking.url, pod(409, b"{}").url).search(b"{}")
    for urls in ([lacking.url, failing.url], [failing.url, lacking.url], [lacking.url, "http://127.0.0.1:9"]):
        with pytest.raises(SearchFailed) as failed:
            pods(*urls).search(b"{}")
        assert not isinstance(failed.value, NotHeld), urls


@pytest.mark.parametrize("word", ["unknown-item", "unknown-user", "no-users"])
def test_what_the_snapshot_lacks_is_no_failure_of_the_pod(pod, pods, word):
    lacking = pod(404, b'{"type":"urn:sluice:%b","title":"Not Found","status":404}' % word.encode())
    with pytest.raises(UnknownItem, match=word):
        pods(lacking.url).search(b"{}")


@pytest.mark.parametrize("body", [b"{}", b"<html>", b'{"type":"urn:sluice:not-found"}', b"[]", b""])
def test_a_404_of_something_else_is_passed_over(pod, pods, body):
    client = pods(pod(404, body).url, pod().url)
    assert [client.search(b"{}") for _ in range(2)] == [[("a", 0.5)]] * 2
    with pytest.raises(SearchFailed, match="404"):
        pods(pod(404, body).url).search(b"{}")


def test_while_all_pods_rest_nobody_is_asked(pod, pods):
    now, busy = [0.0], pod(503, b"{}")
    client = pods(busy.url, clock=lambda: now[0])
    with pytest.raises(SearchFailed) as failed:
        client.search(b"{}")
    assert not isinstance(failed.value, Resting)
    with pytest.raises(Resting):
        client.search(b"{}")
    now[0] += limits.FIRST_REST_S
    with pytest.raises(SearchFailed) as failed:
        client.search(b"{}")
    assert not isinstance(failed.value, Resting), "tried again"
    assert busy.asked == 2


def test_no_rest_is_longer_than_its_limit(pod, pods):
    now, busy = [0.0], pod(503, b"{}")
    client = pods(busy.url, clock=lambda: now[0], last_rest_s=limits.CANARY_LAST_REST_S)
    for _ in range(10):
        asked, began = busy.asked, now[0]
        while busy.asked == asked:
            with pytest.raises(SearchFailed):
                client.search(b"{}")
            now[0] += 0.1
        assert now[0] - began < limits.CANARY_LAST_REST_S + 0.25


def test_requests_under_way_when_a_pod_fails_do_not_lengthen_its_rest(pods, monkeypatch):
    now, asked, together = [0.0], [], threading.Barrier(8)

    def search(wire, body, deadline):
        asked.append(deadline)
        if len(asked) <= 8:
            together.wait(10)
        raise TimeoutError("no answer in time")

    monkeypatch.setattr(Wire, "search", search)
    client = pods("http://pod:80", clock=lambda: now[0])
    waiting = [threading.Thread(target=took_s, args=(client,)) for _ in range(8)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    now[0] += limits.FIRST_REST_S
    took_s(client)
    assert len(asked) == 9, "the first rest is 0.1 s, whatever failed with it"


def test_a_connection_that_another_thread_took_is_none_to_fail_for(pod):
    class SeeminglyFull(deque):
        def __bool__(self):
            return True

        def __len__(self):
            return 1

    wire = Wire(pod(hangs_up=True).url, 2)
    wire._idle = SeeminglyFull()
    assert wire.search(b"{}", time.monotonic() + 5).status == 200
    wire.close()


@pytest.fixture
def deaf():
    """Return the address of a listener that takes no further connection and does not say so."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            try:
                stack.enter_context(socket.create_connection(listener.getsockname(), 0.05))
            except TimeoutError:
                break
        else:
            pytest.skip("this system takes connections beyond the backlog")
        yield listener.getsockname()


def resolving(monkeypatch, *addresses):
    """Let every name have these addresses; what is returned counts look-ups."""
    looked_up = []

    def getaddrinfo(host, port, *_, **__):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return looked_up


def test_a_connection_takes_no_longer_however_many_addresses_a_pod_has(deaf, monkeypatch):
    resolving(monkeypatch, *[deaf] * 6)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Wire("http://pod:80", 2).search(b"{}", began + 5)
    assert time.monotonic() - began < 2 * CONNECT_TIMEOUT_S


def test_an_address_that_is_silent_leaves_time_for_the_next(deaf, pod, monkeypatch):
    answering = pod(hangs_up=True)
    resolving(monkeypatch, deaf, ("127.0.0.1", answering.server_port))
    wire = Wire("http://pod:80", 2)
    assert wire.search(b"{}", time.monotonic() + 5).status == 200
    wire.close()


def test_addresses_are_looked_up_again_when_they_are_old_or_fail(pod, monkeypatch):
    now, answering = [0.0], pod(hangs_up=True)
    looked_up = resolving(monkeypatch, ("127.0.0.1", answering.server_port))
    wire = Wire("http://pod:80", 2, lambda: now[0])
    for _ in range(3):
        wire.search(b"{}", now[0] + 5)
    assert len(looked_up) == 1
    now[0] += RESOLVED_S
    wire.search(b"{}", now[0] + 5)
    assert len(looked_up) == 2
    looked_up_again = resolving(monkeypatch, ("127.0.0.1", 9))
    now[0] += RESOLVED_S
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            wire.search(b"{}", now[0] + 5)
    assert len(looked_up_again) == 2
    wire.close()


@pytest.fixture
def speaking():
    """Start a pod that says ``words`` to whatever it is asked, and then nothing; ``asked`` counts connections."""
    with ExitStack() as stack:

        def _speaking(words=b""):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            pod = type("Pod", (), {"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "asked": 0})

            def serve():
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    stack.push(connection)
                    pod.asked += 1
                    connection.sendall(words)

            threading.Thread(target=serve, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return pod

        yield _speaking


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "ANSWER_S", 0.1)
    monkeypatch.setattr(limits, "TOTAL_S", 0.25)


def took_s(client):
    began = time.monotonic()
    with pytest.raises(SearchFailed):
        client.search(b"{}")
    return time.monotonic() - began


def test_a_pod_that_hangs_costs_one_request_its_time_and_then_none(speaking, pods, impatient):
    hanging = speaking()
    client = pods(hanging.url)
    assert 0.1 <= took_s(client) < 0.2
    assert [took_s(client) < 0.02 for _ in range(20)] == [True] * 20
    assert hanging.asked == 1


def test_the_rest_of_a_pod_that_stays_silent_doubles(speaking, impatient):
    now = [0.0]
    hanging = speaking()
    client = Pods([hanging.url], 2, lambda: now[0])
    asked = []
    for _ in range(100):  # ten seconds; the clock stands still while a request waits
        with pytest.raises(SearchFailed):
            client.search(b"{}")
        asked.append(hanging.asked)
        now[0] += 0.1
    client.close()
    assert asked[0] == 1
    assert asked[9] <= 4
    assert hanging.asked <= 8, "rests of 0.1, 0.2, 0.4 s and so on"


def test_all_hanging_pods_together_cost_no_more_than_the_total(speaking, pods, impatient):
    hanging = [speaking() for _ in range(6)]
    client = pods(*(each.url for each in hanging))
    assert 0.2 <= took_s(client) < 0.4
    assert sum(each.asked for each in hanging) == limits.ATTEMPTS


def test_another_pod_answers_for_the_one_that_hangs(pod, pods, speaking, impatient):
    client = pods(speaking().url, pod().url)
    assert [client.search(b"{}") for _ in range(10)] == [[("a", 0.5)]] * 10


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_ANSWER_BYTES + 1),
    ],
)
def test_half_answers_and_nonsense_fail_in_time(speaking, pods, impatient, words):
    assert took_s(pods(speaking(words).url)) < 0.5


def test_a_chunked_answer_is_understood(speaking, pods):
    words = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(FOUND),
        FOUND,
    )
    assert pods(speaking(words).url).search(b"{}") == [("a", 0.5)]


def test_a_pod_that_is_too_busy_rests_and_the_others_answer(pod, pods):
    busy, holding = pod(503, b"{}"), pod()
    client = pods(busy.url, holding.url)
    assert [client.search(b"{}") for _ in range(10)] == [[("a", 0.5)]] * 10
    assert busy.asked <= 2


def test_the_least_busy_pod_is_asked_first(pod, speaking, pods, monkeypatch):
    monkeypatch.setattr(limits, "ANSWER_S", 1.0)
    slow, quick = speaking(), pod()
    client = pods(slow.url, quick.url)
    waiting = threading.Thread(target=lambda: client.search(b"{}"))
    waiting.start()
    while not slow.asked:
        time.sleep(0.001)
    assert [client.search(b"{}") for _ in range(6)] == [[("a", 0.5)]] * 6
    assert slow.asked == 1
    waiting.join()


def test_pods_that_come_are_asked_and_those_that_go_are_not(pod, pods):
    old, new = pod(), pod()
    client = pods(old.url)
    client.search(b"{}")
    client.replace([old.url, new.url])
    for _ in range(4):
        client.search(b"{}")
    assert new.asked == 2
    client.replace([new.url])
    for _ in range(4):
        client.search(b"{}")
    assert old.asked == 3
    client.replace([])
    with pytest.raises(Resting):
        client.search(b"{}")


def test_a_pod_that_stays_goes_on_resting(pod, pods):
    now, busy = [0.0], pod(503, b"{}")
    client = pods(busy.url, clock=lambda: now[0])
    for rest in (0.1, 0.2):
        with pytest.raises(SearchFailed):
            client.search(b"{}")
        client.replace([busy.url, "http://127.0.0.1:9"])
        client.replace([busy.url])
        with pytest.raises(Resting):
            client.search(b"{}")
        now[0] += rest
    assert busy.asked == 2


def test_a_pod_that_goes_keeps_no_connection_once_it_has_answered(pods, monkeypatch):
    monkeypatch.setattr(limits, "ANSWER_S", 10.0)
    monkeypatch.setattr(limits, "TOTAL_S", 10.0)
    words, answered, closed = [], threading.Event(), []
    monkeypatch.setattr(Wire, "close", lambda wire: closed.append(wire))

    def search(wire, body, deadline):
        words.append(body)
        assert answered.wait(30)
        return Reply(200, FOUND)

    monkeypatch.setattr(Wire, "search", search)
    client, found = pods("http://gone:80"), []
    asking = threading.Thread(target=lambda: found.append(client.search(b"{}")))
    asking.start()
    while not words:
        time.sleep(0.001)
    client.replace([])
    assert closed == [], "it is still answering"
    answered.set()
    asking.join()
    assert found == [[("a", 0.5)]]
    assert len(closed) == 1


def test_while_pods_change_no_search_fails(pod, pods):
    urls = [pod().url for _ in range(3)]
    client, over, failed = pods(*urls), threading.Event(), []

    def ask():
        while not over.is_set():
            try:
                client.search(b"{}")
            except SearchFailed as error:
                failed.append(error)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for turn in range(60):
        client.replace([urls[turn % 3], urls[(turn + 1) % 3]])
    over.set()
    for thread in asking:
        thread.join()
    assert failed == []
