"""Serving pods: which are counted, where each is asked, and what their answers make of them."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from sluice_operator.kubernetes.objects import PodObject
from sluice_operator.kubernetes.pods import ASKED_AT_ONCE, Reporters, address, alive, in_service, written_at
from sluice_operator.pod_report import reported

REPORT = {
    "wanted": ["a", "b"],
    "loaded": [{"id": "a", "digest": "d"}],
    "refused": [{"id": "b", "reason": "no room"}],
    "headroom_bytes": 7,
    "source": "shop",
    "overlay": {},
}


def pod(name="p", phase="Running", ip="127.0.0.1", ports=(), **metadata):
    containers = [{"ports": [{"name": label, "containerPort": number} for label, number in ports]}]
    status = {"phase": phase, "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    document = {"metadata": {"name": name, **metadata}, "spec": {"containers": containers}, "status": status}
    return msgspec.convert(document, PodObject)


@pytest.fixture
def serve():
    """Start servers that answer with bytes, or let the caller wait."""
    servers, free = [], threading.Event()

    def start(body, dribbles=False):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if body is None:
                    free.wait(10)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                pieces = [body[at : at + 1] for at in range(len(body))] if dribbles else [body or b""]
                for piece in pieces:
                    with contextlib.suppress(OSError):
                        self.wfile.write(piece)
                    if dribbles:
                        free.wait(0.1)

            def log_message(self, *_): ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
        servers.append(server)
        return server.server_port

    yield start
    free.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (pod(), True),
        (pod(phase="Pending", ip=""), True),
        (pod(phase="Failed"), False),
        (pod(phase="Succeeded"), False),
        (pod(deletionTimestamp="2026-01-01T00:00:00Z"), False),
    ],
)
def test_pods_that_end_or_have_ended_are_not_counted(seen, expected):
    assert alive(seen) is expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (pod(), "http://127.0.0.1:8081"),
        (pod(ports=[("metrics", 9), ("http", 8100)]), "http://127.0.0.1:8100"),
        (pod(ip="fd00::7"), "http://[fd00::7]:8081"),
        (pod(ip=""), None),
        (pod(phase="Pending"), None),
    ],
)
def test_a_running_pod_is_asked_at_its_address_and_port(seen, expected):
    assert address(seen) == expected


def test_a_pod_is_in_service_as_kubernetes_says():
    assert in_service(pod())
    assert not in_service(msgspec.convert({"metadata": {"name": "p"}}, PodObject))


@pytest.mark.parametrize(
    ("written", "epoch"), [({}, 0), ({"sluice.dev/epoch": "12"}, 12), ({"sluice.dev/epoch": "x"}, 0)]
)
def test_an_annotation_says_who_wrote_it(written, epoch):
    assert written_at(pod(annotations=written)) == epoch


def test_a_report_says_what_is_loaded_refused_and_left():
    seen = reported("p", json.dumps(REPORT).encode())
    assert (seen.ready, seen.loaded, seen.wanted) == (False, {"a"}, {"a", "b"})
    assert (seen.refused, seen.headroom_bytes, seen.source) == ({"b": "no room"}, 7, "shop")


def test_a_pod_is_ready_when_it_holds_all_it_wants_and_is_in_service():
    held = json.dumps(REPORT | {"wanted": ["a"]}).encode()
    assert reported("p", held).ready
    assert not reported("p", held, serving=False).ready


def test_pods_are_asked_at_once_and_a_silent_one_is_not_waited_for(serve):
    held = json.dumps(REPORT | {"wanted": ["a"]}).encode()
    pods = [pod(f"sound-{n}", ports=[("http", serve(held))]) for n in range(4)]
    pods += [pod(f"silent-{n}", ports=[("http", serve(None))]) for n in range(4)]
    begun = time.monotonic()
    said = Reporters().ask(pods)
    assert time.monotonic() - begun < 3.0
    assert {name for name, each in said.items() if each.ready} == {f"sound-{n}" for n in range(4)}
    assert set(said) == {each.metadata.name for each in pods}


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[1]", b"{}", b"\xff\xfe", b'{"wanted": ["a"' + b" " * (2 << 20)]
)
def test_an_answer_that_is_no_report_is_none(serve, answer):
    said = Reporters().ask([pod(ports=[("http", serve(answer))])])
    assert not said["p"].ready


def test_a_pod_that_answers_bit_by_bit_holds_nobody_up(serve):
    held = json.dumps(REPORT | {"wanted": ["a"]}).encode()
    slow = [pod(f"slow-{n}", ports=[("http", serve(held, dribbles=True))]) for n in range(ASKED_AT_ONCE)]
    reporters = Reporters()
    assert not any(each.ready for each in reporters.ask(slow).values())
    deadline = time.monotonic() + 10
    sound = pod("sound", ports=[("http", serve(held))])
    while not reporters.ask([sound])["sound"].ready:
        assert time.monotonic() < deadline


def test_a_pod_that_nobody_answers_for_is_not_ready(serve):
    said = Reporters().ask([pod("refuses", ports=[("http", 1)]), pod("starts", phase="Pending")])
    assert [each.ready for each in said.values()] == [False, False]
