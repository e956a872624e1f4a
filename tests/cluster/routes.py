"""What Ingress objects ask for, as routes: pure. Which pod addresses a route leads to is told apart from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

CLASS: Final = "sluice-test"
Object = dict[str, Any]


@dataclass(frozen=True, order=True)
class Backend:
    """One port of a Service, by its name or number as the Ingress gives it."""

    namespace: str
    service: str
    port: str

    @property
    def key(self) -> str:
        """Its name in nginx."""
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True, order=True)
class Route:
    """Requests for a host (empty: for any) and a path lead to a backend."""

    host: str
    path: str
    is_exact: bool
    backend: Backend


@dataclass(frozen=True, order=True)
class Certificate:
    """A host is served by TLS too, with the pair of this Secret."""

    host: str
    namespace: str
    secret: str


def routes(ingresses: Iterable[Object]) -> list[Route]:
    """Return the routes of the Ingresses of our class; the older Ingress wins where two claim the same."""
    chosen: dict[tuple[str, str, bool], Route] = {}
    for ingress in _ours(ingresses):
        for route in _routes(ingress):
            chosen.setdefault((route.host, route.path, route.is_exact), route)
    return sorted(chosen.values())


def certificates(ingresses: Iterable[Object]) -> list[Certificate]:
    """Return which hosts are served by TLS."""
    return sorted(
        {
            Certificate(host, ingress["metadata"]["namespace"], tls["secretName"])
            for ingress in _ours(ingresses)
            for tls in ingress["spec"].get("tls") or []
            if tls.get("secretName")
            for host in tls.get("hosts") or [""]
        }
    )


def endpoints(backend: Backend, services: Iterable[Object], slices: Iterable[Object]) -> list[str]:
    """Return ``address:port`` of the ready pods of a backend."""
    name = _port_name(backend, services)
    found = {
        f"{address}:{port['port']}"
        for each in slices
        if _is_of(each, backend)
        for port in each.get("ports") or []
        if name is not None and (port.get("name") or "") == name
        for endpoint in each.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    }
    return sorted(found)


def _ours(ingresses: Iterable[Object]) -> list[Object]:
    found = [each for each in ingresses if each["spec"].get("ingressClassName") == CLASS]
    return sorted(
        found, key=lambda each: (each["metadata"].get("creationTimestamp") or "", each["metadata"]["name"])
    )


def _routes(ingress: Object) -> Iterable[Route]:
    namespace, spec = ingress["metadata"]["namespace"], ingress["spec"]
    for rule in spec.get("rules") or []:
        for path in (rule.get("http") or {}).get("paths") or []:
            if backend := _backend(namespace, path["backend"]):
                yield Route(
                    rule.get("host") or "", path.get("path") or "/", path["pathType"] == "Exact", backend
                )
    if (default := spec.get("defaultBackend")) and (backend := _backend(namespace, default)):
        yield Route("", "/", False, backend)


def _backend(namespace: str, backend: Object) -> Backend | None:
    service = backend.get("service")
    if not service:
        return None  # a resource backend, of which this knows none
    port = service["port"]
    return Backend(namespace, service["name"], str(port.get("name") or port["number"]))


def _port_name(backend: Backend, services: Iterable[Object]) -> str | None:
    """Slices call a port by the name that the Service gives it, also if the Ingress gives its number."""
    for service in services:
        meta = service["metadata"]
        if (meta["namespace"], meta["name"]) != (backend.namespace, backend.service):
            continue
        for port in service["spec"].get("ports") or []:
            if backend.port in {port.get("name"), str(port["port"])}:
                return port.get("name") or ""
    return None


def _is_of(each: Object, backend: Backend) -> bool:
    meta = each["metadata"]
    service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    return (meta["namespace"], service) == (backend.namespace, backend.service)
