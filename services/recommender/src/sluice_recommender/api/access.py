"""Lets requests through by scope: every resource says in ``scopes`` which one each of its methods needs."""

from collections.abc import Callable
from typing import Any, Final

import falcon
import structlog

from sluice.web.problems import problem
from sluice_recommender.api.keys import ADMIN, SCHEME, Denied, Keys, Policy, Scope, judge

_CHALLENGE: Final = f'{SCHEME} realm="sluice"'


class Access:
    """Falcon middleware. A resource without ``scopes`` is open to all: probes and the description.

    Raises 401 where a key is missing or unknown, 403 naming the scope that a key lacks. Log lines of a
    request name its key.
    """

    def __init__(self, policy: Policy, keys: Callable[[], Keys]) -> None:
        self._policy, self._keys = policy, keys

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, params: dict[str, Any]
    ) -> None:
        """Check the scope of the method."""
        scopes = getattr(resource, "scopes", None)
        if scopes is not None and req.method in scopes:
            self.require(req, scopes[req.method])

    def require(self, req: falcon.Request, scope: Scope) -> None:
        """Raise unless the request may do what ``scope`` stands for."""
        found = judge(self._policy, self._keys(), req.get_header("Authorization"), scope)
        if isinstance(found, Denied):
            headers = {"WWW-Authenticate": _CHALLENGE} if found.status == 401 else None
            raise problem(found.status, found.reason, found.detail, headers)
        if found is not None:
            structlog.contextvars.bind_contextvars(key=found.name)
        if (
            scope == ADMIN
            and self._policy.local
            and req.get_header("Sec-Fetch-Site") in ("cross-site", "same-site")
        ):
            # In the local mode nothing else would keep a web page the user visits from changing items.
            raise problem(
                403, "cross-site", "a web page of another site may not do this; use the API directly"
            )
