"""The client of Faiss pods against small servers on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sluice_recommender.api.pods import Pods, SearchFailed, UnknownItem

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

    def _pods(*urls):
        made.append(Pods(urls, 2))
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


def test_without_pods_the_search_fails(pods):
    with pytest.raises(SearchFailed, match="configured"):
        pods().search(b"{}")


def test_an_unknown_item_is_no_failure_of_the_pod(pod, pods):
    with pytest.raises(UnknownItem):
        pods(pod(404, b"{}").url).search(b"{}")
