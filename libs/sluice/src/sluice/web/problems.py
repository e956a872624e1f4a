"""Errors as ``application/problem+json`` (RFC 9457): ``type``, ``title``, ``status``, ``detail``, ``request_id``.

``detail`` is one sentence that names the field and the fix. Resources raise :func:`problem` or a falcon
error; errors of the domain are mapped here once, in :func:`install`.
"""

from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec
import structlog

from sluice.errors import InvalidRecord, StorageUnavailable

PROBLEM_JSON: Final = "application/problem+json"
RETRY_S: Final = "1"
"""When what a store could not do may be tried again."""
_log = structlog.get_logger()


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error. ``type`` is ``urn:sluice:<reason>`` with a stable reason.

    ``request_id`` is that of the ``X-Request-Id`` header, where the service gives one.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None


def problem(status: int, reason: str, detail: str, headers: dict[str, str] | None = None) -> falcon.HTTPError:
    """Return the error to raise: ``reason`` is a stable word, ``detail`` a sentence with field and fix."""
    return falcon.HTTPError(status, title=reason, description=detail, headers=headers)


def install(app: falcon.App[Any, Any]) -> None:
    """Make ``app`` answer every error, its own and the router's, as a problem."""
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(InvalidRecord, _invalid_record)
    app.add_error_handler(StorageUnavailable, _storage_unavailable)


_DEFAULTS: Final = {
    404: ("not-found", "nothing is here; /openapi.json lists the paths, and ids with '/' go into bodies"),
    405: ("method-not-allowed", "this path does not take that method; the Allow header lists those it takes"),
}


def _serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    default_reason, default_detail = _DEFAULTS.get(error.status_code, ("", ""))
    title = HTTPStatus(error.status_code).phrase
    named = error.title is not None and error.title != error.status
    reason = error.title if named and error.title else default_reason or title.lower().replace(" ", "-")
    document = Problem(
        type=f"urn:sluice:{reason.lower().replace(' ', '-')}",
        title=title,
        status=error.status_code,
        detail=error.description or default_detail or title,
        request_id=getattr(req.context, "request_id", None),
    )
    resp.data = msgspec.json.encode(document)
    resp.content_type = PROBLEM_JSON


def _invalid_record(_req: Any, _resp: Any, error: InvalidRecord, _params: Any) -> None:
    raise problem(400, error.reason, str(error)) from error


def _storage_unavailable(_req: Any, _resp: Any, error: StorageUnavailable, _params: Any) -> None:
    raise problem(503, "storage-unavailable", f"{error}; try again", {"Retry-After": RETRY_S}) from error


def _unexpected(req: falcon.Request, _resp: Any, error: Exception, _params: Any) -> None:
    _log.error(
        "request raised an unexpected error", method=req.method, route=req.uri_template, exc_info=error
    )
    raise problem(500, "unexpected", "an unexpected error was logged; report it with the time") from error
