"""Reading request bodies and parameters within bounds."""

from typing import Any, Final, TypeVar

import falcon
import msgspec
import orjson

from sluice.web.problems import problem
from sluice.wording import sentence

MAX_BODY_BYTES: Final = 1 << 20
T = TypeVar("T")


def read_bytes(req: falcon.Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return the body; 413 if it is longer than ``limit``, which is noticed before it is in memory."""
    length = req.content_length
    chunked = req.get_header("Transfer-Encoding") is not None
    if length is None and not chunked:
        return b""
    stream = req.stream if chunked else req.bounded_stream
    data: bytes = b"" if (length or 0) > limit else stream.read(limit + 1)
    if (length or 0) > limit or len(data) > limit:
        raise problem(413, "too-large", f"the body may have {limit} bytes; split it")
    return data


def decode(data: bytes) -> Any:
    """Return a body as decoded JSON; 400 if it is none (NaN and depth above 1,024 are none)."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise problem(400, "bad-json", f"the body is not JSON: {error}; correct it") from error


def read_typed(req: falcon.Request, decoder: msgspec.json.Decoder[T], limit: int = MAX_BODY_BYTES) -> T:
    """Return the body as the decoder's type; 400 if it is not JSON or naming a wrong field."""
    data = read_bytes(req, limit)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise problem(400, "bad-field", sentence(error, decoder.type)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise problem(400, "bad-json", f"the body is not JSON: {error}; correct it") from error


def send(resp: falcon.Response, document: Any, status: int = 200) -> None:
    """Answer with a typed document as JSON."""
    resp.data = msgspec.json.encode(document)
    resp.content_type = falcon.MEDIA_JSON
    resp.status = status
