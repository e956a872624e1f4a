"""The configuration of Debian's nginx as the cluster's ingress: pure.

Routes are configuration, so that a change of them reloads nginx. The pods behind a route are not: nginx asks a
shared table for each request. A reload closes idle connections of clients, who may just be sending; pods come and
go all the time during an upgrade, and no request shall fail for that.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from cluster import layout
from cluster.routes import Backend, Certificate, Route

_LUA: Final = Path(__file__).parent / "lua"
_MODULES: Final = ("ndk_http_module", "ngx_http_lua_module")


def configuration(routes: Iterable[Route], certificates: Iterable[Certificate], folder: Path) -> str:
    """Return nginx.conf; pid, socket, certificates and temporary files are in ``folder``."""
    served = list(routes)
    hosts = {route.host: _of_host(served, route.host) for route in served} | {"": _of_host(served, "")}
    pairs = {each.host: pair(each, folder) for each in certificates}
    servers = [_server(host, hosts[host], pairs) for host in sorted(hosts)]
    return _FRAME.format(
        modules="\n".join(f"load_module modules/{module}.so;" for module in _MODULES),
        folder=folder,
        lua=_LUA,
        logs=layout.logs(),
        servers="".join(servers),
    )


def table(endpoints: Mapping[Backend, list[str]]) -> str:
    """Return what the shared table is told: a line for each backend, and on it the addresses of its pods."""
    return "".join(f"{' '.join([backend.key, *endpoints[backend]])}\n" for backend in sorted(endpoints))


def pair(certificate: Certificate, folder: Path) -> Path:
    """Return the file of a certificate's Secret, chain and key in one."""
    return folder / "tls" / f"{certificate.namespace}_{certificate.secret}.pem"


def _of_host(routes: list[Route], host: str) -> list[Route]:
    """A host's own routes, and those for any host where it has none of its own."""
    own = [route for route in routes if route.host == host]
    taken = {(route.path, route.is_exact) for route in own}
    common = [route for route in routes if not route.host and (route.path, route.is_exact) not in taken]
    return own if not host else [*own, *common]


def _server(host: str, routes: list[Route], pairs: Mapping[str, Path]) -> str:
    listens = [f"listen {layout.ADDRESS}:{layout.HTTP_PORT}{'' if host else ' default_server'};"]
    if (file := pairs.get(host)) is not None:
        listens += [
            f"listen {layout.ADDRESS}:{layout.HTTPS_PORT} ssl{'' if host else ' default_server'};",
            f"ssl_certificate {file};",
            f"ssl_certificate_key {file};",
        ]
    matches = dict(match for route in routes for match in _matches(route))
    matches.setdefault("/", "return 404;")
    lines = [
        *listens,
        f'server_name "{host or "_"}";',
        *(f"location {match} {{ {action} }}" for match, action in sorted(matches.items())),
    ]
    return "  server {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"


def _matches(route: Route) -> list[tuple[str, str]]:
    """A prefix matches whole parts of a path: /a matches /a and /a/b, but not /ab."""
    ready = 'access_by_lua_block { require("pods").admit() }'
    action = f'set $backend "{route.backend.key}"; {ready} proxy_pass http://pods;'
    path = route.path.rstrip("/")
    if route.is_exact:
        return [(f'= "{route.path}"', action)]
    if not path:
        return [("/", action)]
    return [(f'= "{path}"', action), (f'"{path}/"', action)]


_FRAME: Final = """\
{modules}
daemon off;
user root;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {logs}/nginx-errors.log notice;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/temporary/body;
  fastcgi_temp_path {folder}/temporary/fastcgi;
  proxy_temp_path {folder}/temporary/proxy;
  scgi_temp_path {folder}/temporary/scgi;
  uwsgi_temp_path {folder}/temporary/uwsgi;
  lua_package_path "{lua}/?.lua;;";
  lua_shared_dict endpoints 4m;
  server_tokens off;
  server_names_hash_bucket_size 256;
  client_max_body_size 8m;
  keepalive_requests 1000000;
  proxy_http_version 1.1;
  proxy_connect_timeout 1s;
  proxy_next_upstream error timeout;
  proxy_next_upstream_tries 2;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Proto $scheme;
  upstream pods {{
    server 0.0.0.1;
    balancer_by_lua_block {{ require("pods").choose() }}
    keepalive 64;
  }}
  server {{
    listen unix:{folder}/control.sock;
    client_body_buffer_size 1m;
    location = /endpoints {{ content_by_lua_block {{ require("pods").learn() }} }}
  }}
{servers}}}
"""
