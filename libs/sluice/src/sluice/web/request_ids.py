"""Request ids: the client's where it is usable, else a new one; echoed, and in every log line of the request."""

import re
import uuid
from typing import Any, Final

import falcon
import structlog

HEADER: Final = "X-Request-Id"
USABLE: Final = r"^[!-~]{1,128}$"
"""What a client's id may be: 1 to 128 printable ASCII characters without blanks."""

_USABLE: Final = re.compile(USABLE)


class RequestIds:
    """Falcon middleware; put it first, so that every error has the id. Resources call :func:`request_id`."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take or make the id."""
        given = req.get_header(HEADER)
        chosen = given if given is not None and _USABLE.fullmatch(given) else str(uuid.uuid4())
        req.context.request_id = chosen
        resp.set_header(HEADER, chosen)
        structlog.contextvars.bind_contextvars(request_id=chosen)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: bool
    ) -> None:
        """Forget the id and all else that lines of this request said: this thread's next may belong to nobody."""
        structlog.contextvars.clear_contextvars()


def passed_on() -> bytes:
    """Return the header line that carries the id of the request in hand to another service; empty without one."""
    chosen = structlog.contextvars.get_contextvars().get("request_id")
    return b"" if chosen is None else f"{HEADER}: {chosen}\r\n".encode()


def request_id(req: falcon.Request) -> str:
    """Return the id of a request that :class:`RequestIds` has seen."""
    return str(req.context.request_id)
