"""Calls the WSGI app with a whole request and returns its whole answer, as the bytes to send."""

from collections.abc import Callable
from typing import Any

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.message import Request

from sluice.web.connections import Connection


def answer(
    app: Callable[..., Any], request: Request, connection: Connection, cfg: Config, ending: Callable[[], bool]
) -> tuple[bytes, bool]:
    """Return the answer, and whether it is the last of its connection; raises what the app raises.

    ``ending`` is asked when the app has answered: True lets the answer say that no other follows.
    """
    collected = _Collected()
    response, environ = wsgi.create(request, collected, connection.peer, connection.server, cfg)
    environ["wsgi.multithread"] = True
    parts = app(environ, response.start_response)
    try:
        if ending():
            response.force_close()
        for part in parts:
            response.write(part)
        response.close()
    finally:
        if hasattr(parts, "close"):
            parts.close()
    return b"".join(collected.parts), response.should_close()


class _Collected:
    """Stands for the socket in gunicorn's response, so that an answer goes out as one piece, or not at all."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep a piece."""
        self.parts.append(data)
