"""Requests gathered from bytes that come in any pieces."""

import gc
import time
import weakref
from itertools import pairwise

import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from sluice.web.gather import MAX_CHUNKED_BYTES, MAX_CHUNKS, MAX_HEAD_BYTES, Gathering, Refused

PEER = ("192.0.2.1", 1)
CFG = Config()
CFG.set("limit_request_line", 8190)
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE = b"1\r\nx\r\n"
LAST = b"0\r\n\r\n"


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
    for prefix in (b"", b"POST / HTTP/1.1\r\n", CHUNKED):
        refused = refusal(cut(prefix + data, places))
        assert refused is None or 400 <= refused.status < 600


def test_a_head_is_refused_before_it_is_too_long_to_hold():
    lines = [b"a" * 998 + b"\r\n"] * (MAX_HEAD_BYTES // 1_000)
    assert refusal([b"GET / HTTP/1.1\r\n", *lines]) is None
    assert refusal([b"GET / HTTP/1.1\r\n", *lines, *lines[:1]]).status == 431


def test_chunks_are_refused_before_they_are_too_long_to_hold():
    chunks = [b"10;%b\r\n%b\r\n" % (b"a" * 980, b"x" * 16)] * (MAX_CHUNKED_BYTES // 1_003)
    assert refusal([CHUNKED, *chunks]) is None
    assert refusal([CHUNKED, *chunks, *chunks[:2]]).status == 413


def test_chunks_are_refused_before_they_are_too_many_to_parse():
    found, _ = taken([CHUNKED, ONE * MAX_CHUNKS, LAST])
    assert found == [("/", b"x" * MAX_CHUNKS)]
    refused = refusal([CHUNKED, ONE * (MAX_CHUNKS + 1)])
    assert (refused.status, refused.reason) == (413, "too-many-chunks")


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    "pieces",
    [
        lambda count: [CHUNKED + ONE * 15 * count + LAST],
        lambda count: bytewise(CHUNKED + ONE * count + LAST),
        lambda count: bytewise(CHUNKED + LAST[:3] + b"a: %b\r\n" % (b"b" * count) + LAST[3:]),
        lambda count: bytewise(b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * count)),
        lambda count: [b"GET / HTTP/1.1\r\n\r\n" * 3 * count],
    ],
    ids=["many chunks", "chunks byte by byte", "trailer byte by byte", "line byte by byte", "many requests"],
)
def test_the_work_grows_as_the_bytes_do_however_small_the_parts_are(pieces):
    def took_s(count):
        fed, best = pieces(count), float("inf")
        for _ in range(3):
            began = time.thread_time()
            taken(fed)
            best = min(best, time.thread_time() - began)
        return best

    assert took_s(4_000) < 3 * 4 * took_s(1_000)


@pytest.mark.parametrize(
    "sent",
    [
        b"G" * 9_000,
        b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: br\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n",
        CHUNKED + b"x\r\n",
    ],
)
def test_nothing_is_kept_of_what_was_refused(sent):
    kept = []
    for _ in range(100):
        gathered = gathering()
        kept.append(weakref.ref(gathered))
        gathered.feed(sent)
        with pytest.raises(Refused):
            gathered.whole()
        del gathered
    gc.collect()
    assert [each() for each in kept if each() is not None] == []


def test_what_is_cleared_is_not_held():
    gathered = gathering()
    gathered.feed(CHUNKED + ONE)
    assert gathered.whole() is None
    gathered.clear()
    assert (gathered.begun, gathered.held) == (False, 0)


def test_a_client_is_told_once_to_continue():
    gathered = gathering()
    gathered.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert gathered.whole() is None
    assert [gathered.expects_continue() for _ in range(2)] == [True, False]
