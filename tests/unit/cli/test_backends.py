"""The parts of ``sluice backends`` that need no server: the cache, ports, settings, and how gaps are told."""

import fcntl
import socket
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice_cli.backends import BackendUnavailable, Mongo, Redis, cache, ports, redis, running, server, tools
from sluice_cli.backends.kafka import settings
from sluice_cli.backends.kafka.settings import Listener
from sluice_cli.main import app


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backends"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "pom.xml"
    file.write_text("1")
    return file


# The cache


def test_what_is_made_is_made_once_also_when_many_ask_at_once(source: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "jar").write_text("whole")

    found: list[Path] = []
    asking = [
        threading.Thread(target=lambda: found.append(cache.once("kafka-1", [source], make))) for _ in range(8)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(made) == 1
    assert len(set(found)) == 1
    assert (found[0] / "jar").read_text() == "whole"


def test_a_changed_source_makes_anew_beside_the_old(source: Path) -> None:
    before = cache.once("kafka-1", [source], lambda _: None)
    source.write_text("2")
    assert cache.once("kafka-1", [source], lambda _: None) != before
    assert before.is_dir()


def test_what_fails_half_made_leaves_nothing_and_is_tried_again(source: Path, cache_folder: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise BackendUnavailable("no network")

    with pytest.raises(BackendUnavailable):
        cache.once("kafka-1", [source], fail)
    assert [each.name for each in cache_folder.iterdir()] == ["kafka-1.lock"]
    assert cache.once("kafka-1", [source], lambda _: None).is_dir()


# Ports


def test_free_ports_differ_and_lie_below_those_of_outgoing_connections() -> None:
    found = ports.free(5)
    assert len(set(found)) == 5
    assert all(ports.LOWEST <= port <= ports.HIGHEST for port in found)


def test_a_port_is_not_free_while_someone_listens() -> None:
    with socket.create_server((ports.HOST, 0)) as listening:
        port = listening.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.listens(port)
    assert ports.is_free(port)
    assert not ports.listens(port)


def test_ports_of_last_time_are_taken_again_if_they_are_free_and_of_the_same_names(tmp_path: Path) -> None:
    port = ports.free(1)[0]
    remembered = tmp_path / "ports.json"
    remembered.write_text(f'{{"main": {port}}}')
    assert server._chosen(remembered, ("main",)) == {"main": port}
    assert server._chosen(remembered, ("main", "secure")).keys() == {"main", "secure"}
    with socket.create_server((ports.HOST, port)):
        assert server._chosen(remembered, ("main",)) != {"main": port}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without settings")
def test_a_server_listens_at_the_address_it_was_given_and_there_alone(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Redis, "fetch", lambda _: Path("/usr/bin/redis-server"))
        made = Redis(tmp_path, host="127.0.0.2")
        made._ports = server._chosen(tmp_path / "none", ("main",), "127.0.0.2")
        assert made.address.startswith("127.0.0.2:")
        made.command()
    port = made.address.rpartition(":")[2]
    assert (tmp_path / "redis.conf").read_text().splitlines()[:2] == ["bind 127.0.0.2", f"port {port}"]


def test_an_address_of_another_machine_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"192\.0\.2\.1 cannot be listened on \(.*\); give an address"
    ):
        Redis(tmp_path, host="192.0.2.1").start()


# What is missing is told with its fix


@pytest.mark.parametrize(
    ("tool", "fix"),
    [
        ("java", "openjdk-17-jre-headless"),
        ("javac", "openjdk-17-jdk-headless"),
        ("mvn", "maven"),
        ("go", "Go 1.2"),
    ],
)
def test_a_missing_program_names_what_to_install(
    tool: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match=f"{tool} is not on the PATH; install .*{fix}"):
        tools.find(tool)


def test_redis_is_not_installed_by_who_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools.os, "geteuid", lambda: 1000)
    with pytest.raises(BackendUnavailable, match="Debian: redis-server"):
        tools.redis_server()


def test_redis_is_installed_by_root_after_an_update_if_need_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\n"
        f'echo "$1" >> {tmp_path}/calls\n'
        f'[ "$1" = update ] && {{ touch {tmp_path}/updated; exit; }}\n'
        f"[ -e {tmp_path}/updated ] || exit 100\n"
        f": > {tmp_path}/redis-server; chmod +x {tmp_path}/redis-server\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    monkeypatch.setattr(tools.os, "geteuid", lambda: 0)
    apt.write_text(apt.read_text().replace("touch", "/usr/bin/touch").replace("chmod", "/bin/chmod"))
    assert tools.redis_server() == str(tmp_path / "redis-server")
    assert (tmp_path / "calls").read_text().split() == ["install", "update", "install"]


def test_a_failing_program_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"openssl req -in failed with 1: .*absent\.pem"):
        tools.run("openssl", "req", "-in", "absent.pem", folder=tmp_path)


def test_the_gist_of_a_long_output_is_its_beginning_and_its_end() -> None:
    said = "\x1b[0m[ERROR] no network\n\n" + "\n".join(f"line {number}" for number in range(9))
    assert tools._gist(said) == "[ERROR] no network / line 0 / … / line 7 / line 8"


def test_a_mongo_with_logins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="SLUICE_TEST_MONGO_URL"):
        Mongo(tmp_path, secure=True)


# Settings


def test_a_plain_broker_has_no_trace_of_other_listeners(tmp_path: Path) -> None:
    listeners = {"main": Listener("h:1", "h:1"), "controller": Listener("h:2", "h:2")}
    found = dict(line.split("=", 1) for line in settings.properties(listeners, tmp_path).splitlines())
    assert found["listeners"] == "MAIN://h:1,CONTROLLER://h:2"
    assert found["controller.quorum.voters"] == "1@h:2"
    assert found["log.dirs"] == str(tmp_path / "data")
    assert found["auto.create.topics.enable"] == "false"
    assert not [key for key in found if "sasl" in key or "ssl" in key]


def test_a_proxied_broker_tells_the_address_of_its_proxy(tmp_path: Path) -> None:
    listeners = {
        "main": Listener("h:1", "h:1"),
        "controller": Listener("h:2", "h:2"),
        "secure": Listener("h:3", "h:3"),
        "proxied": Listener("h:4", "h:9"),
    }
    found = dict(line.split("=", 1) for line in settings.properties(listeners, tmp_path).splitlines())
    assert "PROXIED://h:4" in found["listeners"].split(",")
    assert "PROXIED://h:9" in found["advertised.listeners"].split(",")
    assert "CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,PROXIED:PLAINTEXT" in found["listener.security.protocol.map"]
    assert found["listener.name.secure.ssl.keystore.location"] == str(tmp_path / "tls" / "server.pem")


@pytest.mark.parametrize(("value", "quoted"), [("a b", '"a b"'), ('a"b', r'"a\"b"'), ("a\\b", r'"a\\b"')])
def test_a_password_is_one_argument_of_redis_settings(value: str, quoted: str) -> None:
    assert redis._quoted(value) == quoted


# The command


def test_down_ends_nothing_where_nothing_runs_and_removes_what_a_crash_left(cache_folder: Path) -> None:
    left = cache_folder / "running" / "1"
    left.parent.mkdir(parents=True)
    left.touch()
    result = CliRunner().invoke(app, ["backends", "down"])
    assert (result.exit_code, result.stdout) == (0, "ended 0\n")
    assert not left.exists()


def test_one_that_runs_is_registered_as_long_as_it_does(cache_folder: Path) -> None:
    with running.registered():
        (file,) = (cache_folder / "running").iterdir()
        with file.open() as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not file.exists()


def test_a_fetch_that_cannot_is_one_sentence_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["backends", "fetch"])
    assert result.exit_code == 1
    assert result.stderr == (
        "sluice: java is not on the PATH; install a Java runtime 17 or newer (Debian: openjdk-17-jre-headless)\n"
    )
