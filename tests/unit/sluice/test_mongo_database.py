"""What a MongoDB connection does with errors, passwords and forks; the server is a stand-in."""

import os
import threading
from typing import Any

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    InvalidOperation,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.mongo.client import connect, require_usable
from sluice.mongo.database import MongoDatabase, Overtaken, again_when_overtaken

URL = "mongodb://sluice:hunter2@db.example/?authSource=admin"
REFUSED = OperationFailure("Authentication failed: hunter2", 18)


class Server:
    """Clients of it raise what is in ``errors``, one after the other, and then answer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.urls, self.closed, self.asked = list(errors), [], 0, 0
        self.known = True
        self.options: list[Any] = []

    def connect(self, url: str) -> Any:
        self.urls.append(url)
        return Client(self)


class Client:
    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def topology_description(self) -> Any:
        return self

    @property
    def has_known_servers(self) -> bool:
        return self._server.known

    def get_database(self, *_: object, **options: object) -> "Client":
        self._server.options.append(options)
        return self

    def __getitem__(self, name: str) -> "Client":
        return self

    def ask(self) -> str:
        self._server.asked += 1
        if self._server.errors:
            raise self._server.errors.pop(0)
        return "answer"

    def close(self) -> None:
        self._server.closed += 1


def database(server: Server, url: Any = lambda: URL) -> MongoDatabase:
    return MongoDatabase(url, "sluice", server.connect)


def ask(there: MongoDatabase) -> Any:
    return there.run("c", lambda collection: collection.ask())


def test_it_connects_when_first_used_and_then_stays_connected():
    server = Server()
    there = database(server)
    assert server.urls == []
    assert [ask(there), there.read("c", lambda collection: collection.ask())] == ["answer"] * 2
    assert server.urls == [URL]
    there.close()
    assert server.closed == 1


def test_threads_share_one_connection():
    server, gate = Server(), threading.Barrier(8)
    there = database(server)

    def work() -> None:
        gate.wait()
        ask(there)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(server.urls), server.asked) == (1, 8)


def test_a_forked_child_connects_anew_and_leaves_its_parents_connection_open(monkeypatch):
    server = Server()
    there = database(server)
    ask(there)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    ask(there)
    assert (len(server.urls), server.closed) == (2, 0)


def test_a_refused_login_reads_the_url_anew_so_that_a_changed_password_needs_no_restart():
    server, urls = Server(), iter(["mongodb://u:old@h", "mongodb://u:new@h"])
    there = database(server, lambda: next(urls))
    ask(there)
    server.errors = [REFUSED]
    assert ask(there) == "answer"
    assert server.urls == ["mongodb://u:old@h", "mongodb://u:new@h"]
    assert server.closed == 1


def test_a_login_that_stays_refused_is_given_up_and_tried_again_by_the_next_call():
    server = Server(*[REFUSED] * 10)
    there = database(server)
    with pytest.raises(StorageUnavailable, match="refused the login"):
        ask(there)
    assert len(server.errors) > 0
    server.errors = []
    assert ask(there) == "answer"


def test_a_connection_broken_off_is_replaced_a_bounded_number_of_times():
    server = Server(AutoReconnect("reset"), AutoReconnect("reset"))
    assert ask(database(server)) == "answer"
    server.errors = [AutoReconnect("reset")] * 50
    with pytest.raises(StorageUnavailable, match="broke the connection off"):
        ask(database(server))
    assert len(server.errors) > 40


def test_a_client_that_another_thread_let_go_is_passed_over():
    server = Server(InvalidOperation("Cannot use MongoClient after close"))
    assert ask(database(server)) == "answer"


def test_while_no_server_is_known_calls_are_refused_at_once_and_one_that_appears_is_used():
    server = Server(ServerSelectionTimeoutError("db.example:27017: refused"))
    there = database(server)
    server.known = False
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            ask(there)
    assert server.asked == 1
    server.known = True
    assert [ask(there), ask(there)] == ["answer"] * 2


@pytest.mark.parametrize(
    "error",
    [
        InvalidURI("Port must be an integer: hunter2@h"),
        ConfigurationError("sluice:hunter2"),
        REFUSED,
        OperationFailure("not authorized: hunter2", 13),
        BulkWriteError({"writeErrors": [{"code": 66, "errmsg": "hunter2"}], "writeConcernErrors": []}),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "hunter2"}]}),
        NetworkTimeout("db.example:27017: hunter2"),
        AutoReconnect("hunter2"),
        PyMongoError("hunter2"),
    ],
)
def test_whatever_goes_wrong_is_one_sentence_that_tells_no_secret(error):
    with pytest.raises(StorageUnavailable) as caught:
        ask(database(Server(*[error] * 10)))
    said = str(caught.value)
    assert "hunter2" not in said
    assert "db.example" not in said
    assert said.startswith(("MongoDB ", "SLUICE_MONGO_URL "))
    assert "\n" not in said
    if isinstance(error, InvalidURI | ConfigurationError | OperationFailure):
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


UNUSABLE = [
    "",
    "redis://h",
    "mongodb://u:hunter2@ss@h:x",
    "mongodb://u:hunter2@h:99999",
    "mongodb://u:hunter2@[::1",
    "mongodb://u:hunter2@h/?tls=true&tlsCAFile=/no/such/hunter2",
]


@pytest.mark.parametrize("url", UNUSABLE)
def test_a_url_that_has_become_unusable_is_an_outage_and_not_shown(url):
    with pytest.raises(StorageUnavailable, match="SLUICE_MONGO_URL is no connection string") as caught:
        MongoDatabase(lambda: url, "sluice", connect).read("c", lambda collection: collection.find_one())
    assert_not_shown("hunter2", caught.value)


def assert_not_shown(secret: str, error: BaseException | None) -> None:
    """Check what a log with the traceback would hold."""
    while error is not None:
        assert secret not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_unusable_url_can_be_refused_before_it_is_used(url):
    with pytest.raises(InvalidSetting, match="SLUICE_MONGO_URL") as caught:
        require_usable(url, "sluice")
    assert_not_shown("hunter2", caught.value)


@pytest.mark.parametrize("name", ["a.b", "a b", "", "$a"])
def test_a_database_name_that_is_none_can_be_refused_before_it_is_used(name):
    with pytest.raises(InvalidSetting, match="SLUICE_MONGO_DATABASE"):
        require_usable(URL, name)
    require_usable(URL, "sluice-1")


def test_a_secret_that_cannot_be_read_any_more_is_an_outage_until_it_can():
    server, answers = Server(), [InvalidSetting("SLUICE_MONGO_URL_FILE cannot be read"), URL]

    def url() -> str:
        answer = answers.pop(0)
        if isinstance(answer, InvalidSetting):
            raise answer
        return answer

    there = database(server, url)
    with pytest.raises(StorageUnavailable, match="SLUICE_MONGO_URL_FILE cannot be read"):
        ask(there)
    assert ask(there) == "answer"


def test_a_secondary_that_is_far_behind_answers_no_reads():
    server = Server()
    there = database(server)
    there.read("c", lambda collection: collection.ask())
    ask(there)
    read, run = [options["read_preference"] for options in server.options]
    assert (read.name, read.max_staleness) == ("PrimaryPreferred", 90)
    assert run.name == "Primary"


def test_what_was_overtaken_begins_again_a_bounded_number_of_times():
    tries = []

    @again_when_overtaken
    def work(overtaken: int) -> int:
        tries.append(1)
        if len(tries) <= overtaken:
            raise Overtaken
        return len(tries)

    assert work(3) == 4
    with pytest.raises(StorageUnavailable, match="by others all the time"):
        work(1_000)
    assert len(tries) < 100


def test_nothing_to_write_asks_nobody():
    server = Server()
    database(server).write("c", [])
    assert server.urls == []
