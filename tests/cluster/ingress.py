"""The cluster's ingress controller, for tests only: follows the API server and keeps nginx at what it says.

It knows the standard fields of Ingresses of class ``sluice-test``. A change of routes or certificates reloads
nginx; a change of pods is told to it without (:mod:`cluster.nginx` says why).
"""

import base64
import http.client
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Final

from cluster import daemons, layout, nginx
from cluster.api import Api
from cluster.commands import ClusterError
from cluster.routes import CLASS, Certificate, certificates, endpoints, routes
from cluster.watching import Watch

_PATHS: Final = {
    "ingresses": "/apis/networking.k8s.io/v1/ingresses",
    "services": "/api/v1/services",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "secrets": "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io/tls",
}
_CLASS_PATH: Final = f"/apis/networking.k8s.io/v1/ingressclasses/{CLASS}"


def folder() -> Path:
    """Return where nginx's files are."""
    return layout.state() / "ingress"


def prepare() -> list[str | Path]:
    """Write a first configuration, if there is none, and return what runs nginx on it."""
    (folder() / "temporary").mkdir(parents=True, exist_ok=True)
    (folder() / "tls").mkdir(exist_ok=True)
    (folder() / "tls").chmod(0o700)
    config = folder() / "nginx.conf"
    if not config.exists():
        config.write_text(nginx.configuration([], [], folder()))
    if daemons.pid("nginx") is None:
        (folder() / "control.sock").unlink(missing_ok=True)  # of one that was killed
    return ["nginx", "-e", layout.logs() / "nginx-errors.log", "-c", config]


def answers() -> bool:
    """Return whether nginx takes the table of endpoints."""
    try:
        return _tell("", "GET") == http.client.BAD_REQUEST
    except OSError:
        return False


class Translator:
    """Brings nginx to what the watched objects say, once for many changes that come together."""

    def __init__(self, api: Api) -> None:
        self._changed = threading.Event()
        self._watches = {name: Watch(api, path, self._changed.set) for name, path in _PATHS.items()}
        self._table: str | None = None

    def run(self) -> None:
        """Follow for ever."""
        for watch in self._watches.values():
            watch.listed.wait()
        while True:
            self._changed.wait()
            self._changed.clear()
            self._translate()
            (folder() / "ready").touch()

    def _translate(self) -> None:
        """Pods are told first, so that a new route finds its own."""
        objects = {name: watch.objects() for name, watch in self._watches.items()}
        wanted = routes(objects["ingresses"])
        backends = {route.backend for route in wanted}
        found = {each: endpoints(each, objects["services"], objects["slices"]) for each in backends}
        self._learn(nginx.table(found))
        served = [each for each in certificates(objects["ingresses"]) if _write(each, objects["secrets"])]
        _configure(nginx.configuration(wanted, served, folder()))

    def _learn(self, table: str) -> None:
        if table == self._table:
            return
        if (answer := _tell(table, "POST")) != http.client.OK:
            raise ClusterError(f"nginx refused the table of endpoints with {answer}")
        self._table = table
        print("endpoints:", *table.splitlines(), sep="\n  ", flush=True)


def _configure(new: str) -> None:
    config = folder() / "nginx.conf"
    if config.read_text() == new:
        return
    config.write_text(new)
    daemons.signal_to("nginx", signal.SIGHUP)
    print("routes changed: nginx reloads", flush=True)


def _write(certificate: Certificate, secrets: list[dict[str, Any]]) -> bool:
    """Write the pair of a Secret; return whether there is one."""
    for secret in secrets:
        meta, data = secret["metadata"], secret.get("data") or {}
        if (meta["namespace"], meta["name"]) == (certificate.namespace, certificate.secret):
            parts = [base64.b64decode(data.get(part, "")) for part in ("tls.crt", "tls.key")]
            file = nginx.pair(certificate, folder())
            new = b"\n".join(parts)
            if not file.exists() or file.read_bytes() != new:
                file.touch(mode=0o600)
                file.write_bytes(new)
                daemons.signal_to("nginx", signal.SIGHUP)
            return all(parts)
    return False


def _tell(table: str, method: str) -> int:
    """Send the table over nginx's own socket and return the status of the answer."""
    connection = http.client.HTTPConnection("localhost", timeout=5.0)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(5.0)
    try:
        connection.sock.connect(str(folder() / "control.sock"))
        connection.request(method, "/endpoints", body=table if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> None:
    """Run until killed."""
    (folder() / "ready").unlink(missing_ok=True)
    api = Api(layout.kubeconfig())
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": CLASS},
        "spec": {"controller": "sluice.dev/test-ingress"},
    }
    api.apply(_CLASS_PATH, body)
    Translator(api).run()


if __name__ == "__main__":
    main()
