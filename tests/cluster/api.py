"""A small client of the Kubernetes API: what starting a cluster and watching Ingresses take."""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import urllib3

_TIMEOUT_S: Final = 10.0
_PLAIN: Final = urllib3.PoolManager(timeout=urllib3.Timeout(2.0), retries=False)


class ApiError(Exception):
    """The API server refused; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def is_healthy(url: str) -> bool:
    """Return whether a health page says so."""
    try:
        return _PLAIN.request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False


class Api:
    """Speaks to the API server that a kubeconfig of ours names."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:  # its reader alone can read it
            for part in ("client-key-data", "client-certificate-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            context.load_cert_chain(pair.name)
        self._http = urllib3.PoolManager(ssl_context=context, timeout=_TIMEOUT_S, retries=False, maxsize=8)

    def is_ready(self) -> bool:
        """Return whether the API server serves."""
        try:
            return self._http.request("GET", f"{self._server}/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """Return an object or a list."""
        return self._ask("GET", path)

    def apply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object, or bring an existing one to this form (server-side apply)."""
        query = "?fieldManager=sluice-cluster&force=true"
        return self._ask("PATCH", path + query, body, "application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        """Delete an object; one that is not there is fine."""
        try:
            self._ask("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, path: str, version: str) -> Iterator[dict[str, Any]]:
        """Yield what changes from a version on, until the server ends the stream."""
        query = f"{'&' if '?' in path else '?'}watch=true&resourceVersion={version}&allowWatchBookmarks=true"
        timeout = urllib3.Timeout(connect=_TIMEOUT_S, read=None)
        answer = self._http.request(
            "GET", self._server + path + query, preload_content=False, timeout=timeout
        )
        try:
            if answer.status >= 400:
                raise ApiError(answer.status, answer.read().decode(errors="replace"))
            for line in _lines(answer):
                yield json.loads(line)
        finally:
            answer.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        headers = {"Accept": "application/json", "Content-Type": kind}
        answer = self._http.request(method, self._server + path, body=data, headers=headers)
        if answer.status >= 400:
            raise ApiError(answer.status, answer.data.decode(errors="replace"))
        return json.loads(answer.data) if answer.data else {}


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Split the stream into lines as its pieces arrive."""
    rest = b""
    for piece in answer.stream(amt=None, decode_content=False):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line for line in whole if line)
