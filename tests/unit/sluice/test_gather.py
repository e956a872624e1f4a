"""Requests gathered from bytes that come in any pieces."""

from itertools import pairwise

from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from sluice.web.gather import MAX_CHUNKED_BYTES, MAX_HEAD_BYTES, Gathering, Refused

PEER = ("192.0.2.1", 1)
CFG = Config()
CFG.set("limit_request_line", 8190)


def gathering():
    return Gathering(CFG, PEER)


def taken(pieces):
    """Feed pieces; return (path, body) of each request."""
    gathered, found = gathering(), []
    for piece in pieces:
        gathered.feed(piece)
        while (request := gathered.whole()) is not None:
            found.append((request.path, request.body.read()))
    return found, gathered


def refusal(pieces):
    """Feed pieces; return how they were refused, None if they were not."""
    try:
        taken(pieces)
    except Refused as refused:
        return refused
    return None


def cut(data, places):
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@st.composite
def requests(draw):
    """Return (bytes, (path, body)) of one request."""
    path = f"/{draw(st.integers(0, 9_999))}"
    line = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    if draw(st.booleans()):
        body = draw(st.binary(max_size=200))
        return line + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), (path, body)
    parts = draw(chunks)
    sent = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    trailers = b"A: b\r\n" * draw(st.integers(0, 2))
    return line + b"Transfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n" + trailers + b"\r\n", (
        path,
        b"".join(parts),
    )


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 5_000), max_size=20))
def test_requests_are_the_same_however_the_bytes_are_cut(sent, places):
    found, gathered = taken(cut(b"".join(data for data, _ in sent), places))
    assert found == [request for _, request in sent]
    assert (gathered.begun, gathered.held) == (False, 0)


@given(requests(), st.data())
def test_part_of_a_request_is_none(sent, data):
    whole = sent[0]
    found, gathered = taken([whole[: data.draw(st.integers(1, len(whole) - 1))]])
    assert found == []
    assert gathered.begun


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_a_request_a_refusal_or_not_enough(data, places):
    for prefix in (b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
        refused = refusal(cut(prefix + data, places))
        assert refused is None or 400 <= refused.status < 600


def test_a_head_is_refused_before_it_is_too_long_to_hold():
    lines = [b"a" * 998 + b"\r\n"] * (MAX_HEAD_BYTES // 1_000)
    assert refusal([b"GET / HTTP/1.1\r\n", *lines]) is None
    assert refusal([b"GET / HTTP/1.1\r\n", *lines, *lines[:1]]).status == 431


def test_chunks_are_refused_before_they_are_too_long_to_hold():
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"1\r\nx\r\n" * 10_000] * (MAX_CHUNKED_BYTES // 60_000)
    assert refusal([head, *chunks]) is None
    assert refusal([head, *chunks, *chunks[:1]]).status == 413


def test_a_client_is_told_once_to_continue():
    gathered = gathering()
    gathered.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert gathered.whole() is None
    assert [gathered.expects_continue() for _ in range(2)] == [True, False]
