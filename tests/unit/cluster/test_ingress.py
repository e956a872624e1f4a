"""From Ingress objects to nginx: routes, the pods behind them, and the configuration."""

from pathlib import Path
from typing import Any

from cluster import nginx
from cluster.routes import Backend, Certificate, Route, certificates, endpoints, routes

FOLDER = Path("/state/ingress")
API = Backend("shop", "api", "http")


def ingress(name: str = "api", **changes: Any) -> dict[str, Any]:
    service = {"service": {"name": "api", "port": {"name": "http"}}}
    rule = {
        "host": "shop.example",
        "http": {"paths": [{"path": "/v1", "pathType": "Prefix", "backend": service}]},
    }
    spec = {"ingressClassName": "sluice-test", "rules": [rule]} | changes
    return {"metadata": {"name": name, "namespace": "shop", "creationTimestamp": name}, "spec": spec}


def service(port: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "api", "namespace": "shop"}, "spec": {"ports": [port]}}


def pods(*found: tuple[str, bool | None], port: str = "http") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": "api"}
    return {
        "metadata": {"name": "api-1", "namespace": "shop", "labels": labels},
        "ports": [{"name": port, "port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in found],
    }


def test_a_rule_becomes_a_route() -> None:
    assert routes([ingress()]) == [Route("shop.example", "/v1", False, API)]


def test_other_classes_are_left_to_their_controllers() -> None:
    assert routes([ingress(ingressClassName="nginx"), ingress(ingressClassName=None)]) == []


def test_the_older_of_two_ingresses_keeps_its_path() -> None:
    other = [{"host": "shop.example", "http": {"paths": [path_to("other")]}}]
    assert routes([ingress("2026-02", rules=other), ingress("2026-01")])[0].backend == API


def path_to(name: str) -> dict[str, Any]:
    return {
        "path": "/v1",
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"number": 80}}},
    }


def test_only_ready_pods_of_the_service_answer() -> None:
    found = pods(("10.98.0.2", True), ("10.98.0.3", False), ("10.98.0.4", None))
    named = service({"name": "http", "port": 80})
    assert endpoints(API, [named], [found]) == ["10.98.0.2:8080", "10.98.0.4:8080"]


def test_a_port_may_be_given_by_its_number() -> None:
    by_number = Backend("shop", "api", "80")
    named = service({"name": "http", "port": 80})
    assert endpoints(by_number, [named], [pods(("10.98.0.2", True))]) == ["10.98.0.2:8080"]


def test_a_service_of_one_port_without_a_name_is_found() -> None:
    by_number = Backend("shop", "api", "80")
    assert endpoints(by_number, [service({"port": 80})], [pods(("10.98.0.2", True), port="")]) == [
        "10.98.0.2:8080"
    ]


def test_a_backend_without_a_service_has_no_pods() -> None:
    assert endpoints(API, [], [pods(("10.98.0.2", True))]) == []


def test_a_prefix_matches_whole_parts_of_a_path_alone() -> None:
    config = nginx.configuration([Route("shop.example", "/v1", False, API)], [], FOLDER)
    assert 'location = "/v1" { set $backend "shop/api:http"' in config
    assert 'location "/v1/" { set $backend "shop/api:http"' in config


def test_an_unknown_host_is_told_so() -> None:
    config = nginx.configuration([Route("shop.example", "/", False, API)], [], FOLDER)
    default = next(part for part in config.split("server {") if "default_server" in part)
    assert "location / { return 404; }" in default
    assert "proxy_pass" not in default


def test_routes_without_a_host_hold_for_every_host() -> None:
    other = Backend("shop", "other", "80")
    config = nginx.configuration(
        [Route("shop.example", "/v1", True, API), Route("", "/", False, other)], [], FOLDER
    )
    named = next(part for part in config.split("server {") if "shop.example" in part)
    assert 'set $backend "shop/other:80"' in named


def test_a_change_of_pods_does_not_change_the_configuration() -> None:
    table = nginx.table({API: ["10.98.0.2:8080"], Backend("shop", "none", "80"): []})
    assert table == "shop/api:http 10.98.0.2:8080\nshop/none:80\n"
    assert "10.98." not in nginx.configuration([Route("shop.example", "/", False, API)], [], FOLDER)


def test_a_host_with_a_certificate_is_served_by_tls_too() -> None:
    found = certificates([ingress(tls=[{"hosts": ["shop.example"], "secretName": "pair"}])])
    assert found == [Certificate("shop.example", "shop", "pair")]
    config = nginx.configuration(routes([ingress()]), found, FOLDER)
    assert "listen 10.99.0.1:8843 ssl;" in config
    assert f"ssl_certificate {FOLDER}/tls/shop_pair.pem;" in config


def test_without_certificates_there_is_no_tls() -> None:
    assert "ssl" not in nginx.configuration(routes([ingress()]), [], FOLDER)
