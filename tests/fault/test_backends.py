"""Real Kafka, MongoDB protocol, Redis and Toxiproxy: what tests rely on when they kill, pause and cut them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pymongo
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import until

from sluice_cli.backends import Kafka, Mongo, Redis, Toxiproxy, ports
from sluice_cli.backends.kafka.credentials import lists_topics, login

CONFTEST = Path(__file__).parent.parent / "conftest.py"


def listens(address):
    return ports.listens(int(address.rpartition(":")[2]))


@pytest.fixture
def started(or_skip):
    """Start servers; whatever still runs at the end is killed."""
    running = []

    def start(server):
        running.append(server)
        with or_skip():
            server.start()
        return server

    yield start
    for server in reversed(running):
        server.kill()


# The shared ones


def test_an_event_goes_through_kafka(kafka):
    topic = f"t-{uuid.uuid4().hex}"
    create(kafka, topic)
    send(kafka, topic, b"click")
    assert receive(kafka, topic) == b"click"


def test_a_claim_in_mongo_has_one_winner(mongo_url):
    with pymongo.MongoClient(mongo_url) as client:
        claims = client[f"t-{uuid.uuid4().hex}"].claims
        claims.insert_one({"_id": "m", "epoch": 1})
        won = []

        def claim():
            change = {"$set": {"epoch": 2}}
            won.append(claims.update_one({"_id": "m", "epoch": 1}, change).modified_count)

        in_threads(claim, 16)
        assert sorted(won) == [0] * 15 + [1]
        client.drop_database(claims.database.name)


def test_redis_counts(redis_url):
    with redis.from_url(redis_url) as client:
        key = uuid.uuid4().hex
        in_threads(lambda: client.incr(key), 8)
        assert client.getdel(key) == b"8"


# Kafka


def test_kafka_keeps_what_it_acknowledged_and_its_address_through_kill_and_stop(started, tmp_path):
    broker = started(Kafka(tmp_path))
    address = broker.bootstrap
    create(address, "t")
    send(address, "t", b"before")
    for end in (broker.kill, broker.stop):
        end()
        assert not listens(address)
        broker.start()
        assert broker.bootstrap == address
        assert receive(address, "t") == b"before"


def test_kafka_with_logins_behind_a_proxy(started, tmp_path):
    toxiproxy = started(Toxiproxy(tmp_path / "toxiproxy"))
    broker = started(Kafka(tmp_path / "kafka", secure=True, proxy=toxiproxy))

    broker.set_password("trainer", "first")
    broker.set_password("trainer", "second")
    assert not lists_topics(broker.secure_bootstrap, login(broker.ca_file, "trainer", "first"), timeout_s=2.0)
    assert lists_topics(broker.secure_bootstrap, login(broker.ca_file, "trainer", "second"))

    told = AdminClient({"bootstrap.servers": broker.proxied_bootstrap}).list_topics(timeout=10).brokers[1]
    assert f"{told.host}:{told.port}" == broker.proxied_bootstrap
    broker.proxy.down()
    assert not lists_topics(broker.proxied_bootstrap, timeout_s=1.0)
    assert lists_topics(broker.bootstrap)
    broker.proxy.up()
    assert lists_topics(broker.proxied_bootstrap)


# MongoDB


def test_mongo_keeps_what_it_acknowledged_when_killed(started, tmp_path):
    server = started(Mongo(tmp_path))
    with pymongo.MongoClient(server.url) as client:
        for number in range(50):
            client.t.c.insert_one({"_id": number})
        server.kill()
        server.start()
        assert client.t.c.count_documents({}) == 50


def test_mongo_finds_by_id_and_condition_what_it_would_find_by_looking_at_all(started, tmp_path):
    server = started(Mongo(tmp_path))
    with pymongo.MongoClient(server.url) as client:
        client.t.c.create_index("email", unique=True)
        client.t.c.insert_many([{"_id": number, "email": f"e{number}", "n": number} for number in range(9)])
        found = [
            [each["_id"] for each in client.t.c.find(query)]
            for query in (
                {"_id": 3, "n": 3},
                {"_id": 3, "n": 4},
                {"_id": {"$in": [3, 4]}, "n": {"$gt": 3}},
                {"_id": {"$gt": 6}, "n": 8},
                {"email": "e5", "n": 5},
                {"email": "e5", "n": 6},
            )
        ]
    assert found == [[3], [], [4], [8], [5], []]


# Redis


def test_redis_keeps_its_data_unless_told_otherwise(started, tmp_path):
    for append_only, kept in ((True, b"v"), (False, None)):
        server = started(Redis(tmp_path / str(append_only), append_only=append_only))
        with redis.from_url(server.url) as client:
            client.set("k", "v")
        time.sleep(1.1)  # it writes its log to the disk each second
        server.kill()
        server.start()
        with redis.from_url(server.url) as client:
            assert client.get("k") == kept


def test_redis_changes_its_password_also_over_a_restart_and_with_tls(started, tmp_path):
    server = started(Redis(tmp_path, secure=True, password="first"))
    server.set_password('se"cond')
    server.stop()
    server.start()
    with redis.from_url(server.url, password="first") as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.from_url(server.secure_url, password='se"cond', ssl_ca_certs=str(server.ca_file)) as client:
        assert client.ping()
    server.set_password(None)
    with redis.from_url(server.url) as client:
        assert client.ping()


# Toxiproxy


def test_a_proxy_delays_swallows_cuts_and_recovers(started, tmp_path):
    server = started(Redis(tmp_path / "redis"))
    proxy = started(Toxiproxy(tmp_path / "toxiproxy")).proxy("redis", server.address)
    host, _, port = proxy.address.partition(":")
    with redis.Redis(host, int(port), socket_timeout=1.0, retry=None) as client:
        assert client.ping()
        proxy.latency(200)
        before = time.monotonic()
        assert client.ping()
        assert time.monotonic() - before > 0.19
        proxy.timeout(0)
        with pytest.raises(redis.TimeoutError):
            client.ping()
        proxy.down()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        proxy.reset()
        assert client.ping()


# What all have in common


def test_starting_twice_is_starting_once_and_ending_twice_too(started, tmp_path):
    server = started(Redis(tmp_path))
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    server.kill()
    assert not server.running


def test_another_object_over_the_same_folder_has_its_ports_and_data(started, tmp_path):
    first = started(Redis(tmp_path))
    with redis.from_url(first.url) as client:
        client.set("k", "v")
    first.stop()
    second = started(Redis(tmp_path))
    assert second.url == first.url
    with redis.from_url(second.url) as client:
        assert client.get("k") == b"v"


def test_a_paused_one_answers_nothing_and_can_be_stopped(started, tmp_path):
    server = started(Redis(tmp_path))
    with redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        assert client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()
    server.pause()
    server.stop()
    assert not listens(server.address)


def test_a_port_that_someone_else_took_is_left_to_him(started, tmp_path, monkeypatch):
    with socket.create_server((ports.HOST, 0)) as other:
        taken = other.getsockname()[1]
        offered = [[taken], ports.free(1)]
        monkeypatch.setattr(ports, "free", lambda count: offered.pop(0))
        assert started(Redis(tmp_path)).address != f"{ports.HOST}:{taken}"
    assert offered == []


def test_one_that_a_thread_started_outlives_the_thread(started, tmp_path):
    server = Redis(tmp_path)
    in_threads(lambda: started(server), 1)
    time.sleep(0.2)
    assert server.running
    assert listens(server.address)


OWNING = """
import sys, threading, time
from pathlib import Path
from sluice_cli.backends import Redis
server = Redis(Path(sys.argv[1]))
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
print(server.address, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_when_the_owner_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNING, tmp_path], stdout=subprocess.PIPE, text=True
    ) as owner:
        address = owner.stdout.readline().strip()
        assert listens(address)
        owner.kill()
        until(lambda: not listens(address), "the server is gone")


# One for a whole test session

ASKING = """
import os, pytest
@pytest.mark.parametrize("n", range(3))
def test_asks(redis_url, n):
    with open(os.environ["TOLD"], "a") as told:
        print(os.environ.get("PYTEST_XDIST_WORKER"), redis_url, file=told)
"""


def session(folder, *tests, workers=2, **environment):
    """Start pytest over the shared fixtures."""
    shutil.copy(CONFTEST, folder)
    for name, text in enumerate(tests):
        (folder / f"test_{name}.py").write_text(text)
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SLUICE_TEST_"))
    }
    options = (
        f"-q -rs -n {workers} --dist loadfile --import-mode importlib -p no:cacheprovider -p no:schemathesis"
    )
    places = ["--rootdir", folder, "--basetemp", folder / "temp", folder]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options.split(), *places],
        cwd=folder,
        env=kept | {"TOLD": str(folder / "told")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_all_workers_of_a_session_share_one_and_it_ends_with_them(or_skip, tmp_path):
    with or_skip():
        Redis(tmp_path).fetch()
    with session(tmp_path, ASKING, ASKING) as running:
        said = running.communicate(timeout=180)[0]
    assert "6 passed" in said
    workers, urls = zip(*(line.split() for line in (tmp_path / "told").read_text().splitlines()), strict=True)
    assert len(set(urls)) == 1
    assert len(set(workers)) == 2
    until(lambda: not listens(urls[0].removesuffix("/0")), "the shared server is gone")
    until(lambda: not (tmp_path / "temp" / "backends" / "redis").exists(), "its data are gone")


def test_a_killed_session_leaves_nothing(or_skip, tmp_path):
    with or_skip():
        Redis(tmp_path).fetch()
    sleeping = ASKING + "    import time; time.sleep(60)\n"
    with session(tmp_path, sleeping) as running:
        told = tmp_path / "told"
        until(lambda: told.exists() and told.read_text().endswith("\n"), "a test has its server", 120)
        address = told.read_text().split()[1].removesuffix("/0")
        assert listens(address)
        running.send_signal(signal.SIGKILL)
        running.wait()
        until(lambda: not listens(address), "the shared server is gone")


@pytest.mark.parametrize(("required", "outcome"), [("", "3 skipped"), ("1", "3 errors")])
def test_a_backend_that_cannot_run_skips_or_fails(tmp_path, required, outcome):
    with session(tmp_path, ASKING, workers=0, PATH="/nowhere", SLUICE_REQUIRE_ALL=required) as running:
        said = running.communicate(timeout=180)[0]
    assert outcome in said
    assert "redis-server is not on the PATH; install Redis (Debian: redis-server)" in said


# The command


def test_the_command_prints_what_to_export_and_ends_when_asked(or_skip, tmp_path):
    with or_skip():
        made = [server(tmp_path).fetch() for server in (Kafka, Mongo, Redis)][:2]
    own = tmp_path / "cache"  # `down` ends all of a cache: not those of other people here
    (own / "backends").mkdir(parents=True)
    for folder in made:
        (own / "backends" / folder.name).symlink_to(folder)
    environment = os.environ | {"SLUICE_CACHE": str(own)}
    command = [sys.executable, "-m", "sluice_cli.main", "backends"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        told = dict(running.stdout.readline().strip().removeprefix("export ").split("=") for _ in range(3))
        assert told.keys() == {"SLUICE_KAFKA", "SLUICE_MONGO_URL", "SLUICE_REDIS_URL"}
        assert lists_topics(told["SLUICE_KAFKA"])
        down = subprocess.run([*command, "down"], env=environment, capture_output=True, text=True, check=True)
        assert down.stdout == "ended 1\n"
        assert running.wait(10) == 0
    assert not listens(told["SLUICE_KAFKA"])


def create(bootstrap, topic):
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(topic, 1)])[topic].result(10)


def send(bootstrap, topic, value):
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(10) == 0


def receive(bootstrap, topic):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(20)
        return message and message.value()
    finally:
        consumer.close()


def in_threads(work, count):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
