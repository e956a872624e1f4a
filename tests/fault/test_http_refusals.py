"""Whatever bytes come, the answer is a problem and the next client is served (case 29)."""

import json
from collections.abc import Iterator

import pytest
from http_service import Service, running

PROBLEM = "content-type: application/problem+json"
GOOD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNK = b"10000\r\n%b\r\n" % (b" " * 65_536)
LONG = 8190 - len("GET /healthz? HTTP/1.1")
REFUSED = {
    "a request line above 8,190 bytes": (b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 8190), 414),
    "a request line without end": (b"G" * 9_000, 414),
    "a header above 8,190 bytes": (b"GET / HTTP/1.1\r\nA: %b\r\n\r\n" % (b"a" * 8200), 431),
    "101 headers": (b"GET / HTTP/1.1\r\n%b\r\n" % (b"A: b\r\n" * 101), 431),
    "headers without end": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000, 431),
    "a TLS greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
    "no HTTP": (b"HELO example.org\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "an unknown version": (b"GET / HTTP/3.0\r\n\r\n", 400),
    "a control character in a header": (b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", 400),
    "an unknown transfer coding": (POST + b"Transfer-Encoding: br\r\n\r\n", 501),
    "a length and chunks": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length of 1 TB": (POST + b"Content-Length: 1099511627776\r\n\r\n", 413),
    "a length above the limit": (POST + b"Content-Length: 1048577\r\n\r\n", 413),
    "an expectation": (POST + b"Expect: cake\r\nContent-Length: 1\r\n\r\n1", 417),
    "a chunk that is none": (POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n", 400),
    "a chunk size that never ends": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 9_000, 400),
    "a chunk of 1 TB": (POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000\r\n" + b"x" * 3_000_000, 413),
    "chunks above the limit": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 17 + b"0\r\n\r\n", 413),
}  # fmt: skip
BAD_JSON = {
    "NaN": b'{"a": NaN}',
    "infinity": b"[1e999, Infinity]",
    "half a surrogate": b'"\xed\xa0\x80"',
    "a depth of 100,000": b"[" * 100_000,
    "a depth of 100,000 objects": b'{"a":' * 100_000,
    "nothing": b"",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_answered_with_a_problem_and_the_end(service: Service, name: str) -> None:
    sent, status = REFUSED[name]
    with service.client() as client:
        answer = client.send(sent).answer()
        assert (answer.status, answer.closes) == (status, True)
        assert PROBLEM in answer.head.lower()
        assert answer.json["status"] == status
        assert answer.json["detail"]
        assert client.ended()


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_a_problem_and_the_connection_goes_on(service: Service, name: str) -> None:
    with service.client() as client:
        answer = client.post("/echo", BAD_JSON[name])
        assert (answer.status, answer.json["type"]) == (400, "urn:sluice:bad-json")
        assert client.post("/echo", b"[1]").json == [1]


def test_a_request_line_of_8190_bytes_is_served(service: Service) -> None:
    with service.client() as client:
        assert client.get("/healthz?" + "a" * LONG).status == 200


def test_a_body_of_the_limit_is_served_declared_or_chunked(service: Service) -> None:
    body = b'"%b"' % (b"x" * ((1 << 20) - 2))
    with service.client() as client:
        assert client.post("/echo", body).body == body
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:700_000], body[700_000:])
        )
        answer = client.send(
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nA: b\r\n\r\n"
        ).answer()
        assert answer.body == body
        assert client.get("/healthz").status == 200


def test_a_client_that_waits_for_100_gets_it_only_for_what_will_be_read(service: Service) -> None:
    expecting = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with service.client() as client:
        client.send(expecting % 3)
        assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert client.send(b"[1]").answer().json == [1]
        assert client.send(expecting % (2 << 20)).answer().status == 413


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    bodies = [b"[%d]" % number for number in range(50)]
    with service.client() as client:
        client.send(b"".join(POST + b"Content-Length: %d\r\n\r\n%b" % (len(each), each) for each in bodies))
        assert [client.answer().body for _ in bodies] == bodies
        last = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert client.send(last + GOOD).answer().closes
        assert client.ended(), "what follows a last request is not served, nor does it reset the answer"


def test_a_byte_at_a_time_is_a_request(service: Service) -> None:
    with service.client() as client:
        for byte in POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\n[1]\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.answer().json == [1]


def test_a_client_that_sends_no_more_is_still_answered(service: Service) -> None:
    with service.client() as client:
        client.send(GOOD).socket.shutdown(1)
        assert client.answer().status == 200
        assert client.ended()
    with service.client() as client:
        client.send(POST + b"Content-Length: 100\r\n\r\n[1").socket.shutdown(1)
        assert client.answer().json["type"] == "urn:sluice:bad-request"


def test_a_flood_of_large_bodies_holds_bounded_memory(service: Service) -> None:
    before = service.resident_bytes()
    clients = [service.client() for _ in range(200)]
    try:
        for client in clients:
            client.socket.setblocking(False)
        answered = 0
        for client in clients:
            try:
                client.socket.send(POST + b"Content-Length: 1048576\r\n\r\n" + b"x" * 1_000_000)
            except OSError:
                answered += 1
        assert service.answers()
        assert service.resident_bytes() - before < 160 << 20
    finally:
        for client in clients:
            client.socket.close()


def test_headers_of_a_proxy_change_nothing(service: Service) -> None:
    sent = b"GET /healthz HTTP/1.1\r\nSCRIPT_NAME: /x\r\nPATH_INFO: /y\r\n"
    with service.client() as client:
        assert client.send(sent + b"\r\n").answer().status == 200
        sent += b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n"
        assert client.send(sent).answer().status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_probe_may_ask_for_the_head_alone(service: Service, path: str) -> None:
    with service.client() as client:
        client.send(b"HEAD %b HTTP/1.1\r\nConnection: close\r\n\r\n" % path.encode())
        answer = b"".join(iter(lambda: client.socket.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n"), "no body follows"


def test_refusals_are_json_objects_as_everywhere(service: Service) -> None:
    with service.client() as client:
        document = json.loads(client.send(b"\r\n\r\n").answer().body)
    assert set(document) == {"type", "title", "status", "detail"}
