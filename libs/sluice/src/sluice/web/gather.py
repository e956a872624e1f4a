"""Gathers the bytes of one connection until a request is whole, so that no thread ever waits for a client.

Gunicorn's parser alone decides what the bytes mean and where a request ends; this module finds out when enough
of them are there, and bounds them. It knows no socket and no clock.
"""

import io
import re
from typing import Any, Final

from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

from sluice.web.bodies import MAX_BODY_BYTES

MAX_LINE_BYTES: Final = 8_190
MAX_HEAD_BYTES: Final = 64 << 10
MAX_CHUNKED_BYTES: Final = 2 * MAX_BODY_BYTES
"""A chunked body with the sizes of its chunks."""
MAX_CHUNKS: Final = 65_536
"""Each chunk costs some microseconds, however short it is."""
_PIECE_BYTES: Final = 4_096

_HEAD_END: Final = re.compile(rb"\n\r?\n")  # without the \r the parser refuses it, now rather than never
_CHUNK_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;.*)?", re.DOTALL)


class Refused(Exception):
    """The bytes are no request that is served: ``status``, the ``reason`` as a word, a sentence with the fix."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


# What is raised is made anew each time: an exception keeps the frames it passed, and they the connection.
_LINE: Final = (414, "request-line-too-long", f"a request line may have {MAX_LINE_BYTES} bytes; use a POST")
_HEAD: Final = (
    431,
    "headers-too-large",
    f"headers may be 100 of 8190 bytes, {MAX_HEAD_BYTES} in all; send fewer",
)
_BODY: Final = (413, "too-large", f"the body may have {MAX_BODY_BYTES} bytes; split it")
_CHUNKS: Final = (413, "too-many-chunks", f"a body may have {MAX_CHUNKS} chunks; send larger ones")
_CODING: Final = (501, "unsupported-transfer-coding", "the only transfer coding is chunked; use it")
_EXPECT: Final = (417, "expectation-failed", "Expect may only be 100-continue; leave it out")
_KINDS: Final = (
    (LimitRequestLine, _LINE),
    (LimitRequestHeaders, _HEAD),
    (UnsupportedTransferCoding, _CODING),
    (ExpectationFailed, _EXPECT),
)


class Gathering:
    """The requests of one connection, one after another: ``feed`` what arrives, take what is ``whole``."""

    def __init__(self, cfg: Config, peer: Any) -> None:
        self._cfg, self._peer, self._count = cfg, peer, 0
        self._arrived = bytearray()
        self._searched = 0
        self._request: Request | None = None
        self._body_end = _BodyEnd(None)

    @property
    def held(self) -> int:
        """Return how many bytes wait for the rest of their request."""
        return len(self._arrived)

    @property
    def begun(self) -> bool:
        """Return whether part of a request is here."""
        return self._request is not None or bool(self._arrived)

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._arrived += data

    def clear(self) -> None:
        """Drop what is here; nothing that follows will be a request."""
        self._arrived.clear()
        self._request = None

    def expects_continue(self) -> bool:
        """Return, once, whether the client waits for a 100 before it sends the body."""
        request = self._request
        if request is None or not request._expected_100_continue:
            return False
        request._expected_100_continue = False
        return True

    def whole(self) -> Request | None:
        """Return the next request with its body in memory, None while some of it is missing.

        Raises :class:`Refused`; where the next request would start is unknown then.
        """
        try:
            if self._request is None and self._head_is_here():
                self._parse_head()
            if self._request is None or not self._body_end.reached(self._arrived):
                return None
            return self._with_body()
        except ParseException as error:
            for kind, refusal in _KINDS:
                if isinstance(error, kind):
                    raise Refused(*refusal) from error
            raise Refused(400, "bad-request", f"the request is not HTTP/1.1: {error}; correct it") from error
        except NoMoreData as error:
            raise Refused(400, "bad-request", "the request ends too early; send all of it") from error

    def _head_is_here(self) -> bool:
        arrived = self._arrived
        end = _HEAD_END.search(arrived, max(0, self._searched - 2))
        self._searched = len(arrived)
        if (
            end is None
            and len(arrived) > MAX_LINE_BYTES + 2
            and arrived.find(b"\n", 0, MAX_LINE_BYTES + 2) < 0
        ):
            raise Refused(*_LINE)
        if (end.start() if end else len(arrived)) > MAX_HEAD_BYTES:
            raise Refused(*_HEAD)
        return end is not None

    def _parse_head(self) -> None:
        self._count += 1
        self._request = request = Request(self._cfg, _Arrived(self._arrived), self._peer, self._count)
        request.unreader.drop_read()
        reader = request.body.reader
        self._body_end = _BodyEnd(None if isinstance(reader, ChunkedReader) else reader.length)

    def _with_body(self) -> Request:
        request, self._request, self._searched = self._request, None, 0
        assert request is not None
        request._expected_100_continue = False
        body = request.body.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise Refused(*_BODY)
        request.body = io.BytesIO(body)
        request.unreader.drop_read()
        return request


class _Arrived(Unreader):  # type: ignore[misc]
    """Reads what has arrived; reading past it is an early end, never a wait.

    In small pieces, since the parser copies what is left of a piece with every line it takes from it.
    """

    def __init__(self, arrived: bytearray) -> None:
        super().__init__()
        self._arrived, self._at = arrived, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece, or the ``size_hint`` bytes that are known to be one."""
        start, self._at = self._at, min(self._at + max(_PIECE_BYTES, size_hint or 0), len(self._arrived))
        return bytes(self._arrived[start : self._at])

    def drop_read(self) -> None:
        """Remove from what has arrived all that the parser is done with."""
        del self._arrived[: self._at - len(self.take_buffered())]
        self._at = 0


class _BodyEnd:
    """Finds the end of a body of ``length`` bytes, or of a chunked one (None)."""

    def __init__(self, length: int | None) -> None:
        self._length, self._at, self._searched = length, 0, 0
        self._chunks, self._trailers = 0, False

    def reached(self, data: bytearray) -> bool:
        """Return whether the body is here; raises :class:`Refused` if it is too long to wait for."""
        if self._length is None:
            if len(data) > MAX_CHUNKED_BYTES:
                raise Refused(*_BODY)
            return self._last_chunk(data)
        if self._length > MAX_BODY_BYTES:
            raise Refused(*_BODY)
        return len(data) >= self._length

    def _last_chunk(self, data: bytearray) -> bool:
        """Return whether the last chunk is here, or one that the parser will refuse."""
        while (end := data.find(b"\r\n", max(self._at, self._searched - 1))) >= 0:
            line, self._at = data[self._at : end], end + 2
            if self._trailers:
                if not line:
                    return True
                continue
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                return True
            length = int(size[1], 16)
            self._chunks += length > 0
            if self._chunks > MAX_CHUNKS:
                raise Refused(*_CHUNKS)
            self._trailers = length == 0
            self._at += length + 2 if length else 0
        self._searched = len(data)
        return len(data) - self._at > MAX_LINE_BYTES
