"""One database of a MongoDB server: connected when first used, every call bounded, errors as one sentence."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pymongo
import stamina
from bson.codec_options import CodecOptions
from pymongo import InsertOne, MongoClient, ReadPreference, ReplaceOne, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    InvalidOperation,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from sluice.credentials import Credential
from sluice.errors import StorageUnavailable

READ_S: Final = 2.0
"""How long a read may take in all; the API waits for it."""
RUN_S: Final = 10.0
HEARTBEAT_S: Final = 1.0
"""How often a server is looked at, so that one that is back is noticed."""
AWAY_S: Final = 5.0
"""A server that does not answer that for so long counts as away: calls under way are broken off."""
_ATTEMPTS: Final = 4
_OVERTAKEN_ATTEMPTS: Final = 50
_OPTIONS: Final[dict[str, Any]] = {
    "appname": "sluice",
    "connectTimeoutMS": int(AWAY_S * 1e3),
    "heartbeatFrequencyMS": int(HEARTBEAT_S * 1e3),
}
_DUPLICATE_KEY: Final = 11_000
_LOGIN_REFUSED: Final = 18

Document = dict[str, Any]
Write = InsertOne[Document] | ReplaceOne[Document] | UpdateOne
T = TypeVar("T")

# What retries end with is told by who called; each of them would be a log line and a metric of its own.
stamina.instrumentation.set_on_retry_hooks([])


class Overtaken(StorageUnavailable):
    """Somebody else changed a document between reading and writing it."""

    def __init__(self) -> None:
        super().__init__(
            "MongoDB documents are being changed by others all the time; stop writers started by mistake"
        )


again_when_overtaken: Final = stamina.retry(
    on=Overtaken,
    attempts=_OVERTAKEN_ATTEMPTS,
    timeout=RUN_S,
    wait_initial=0.001,
    wait_max=0.05,
    wait_jitter=0.01,
)
"""Makes a function that reads, folds and writes begin again when it was overtaken, a bounded number of times."""


def connect(url: str) -> MongoClient[Document]:
    """Return a client; it connects when it is used."""
    return MongoClient(url, **_OPTIONS)


class MongoDatabase:
    """Collections by name. May be made before a fork; threads share it.

    ``url`` is looked up when a client is made: at first, in a forked child, and when a login was refused (the
    password may have been changed). Whatever the server cannot do now raises :class:`StorageUnavailable`.
    """

    def __init__(
        self, url: Credential, name: str, connect: Callable[[str], MongoClient[Document]] = connect
    ) -> None:
        self._url, self._name, self._connect = url, name, connect
        self._lock = threading.Lock()
        self._client: tuple[int, MongoClient[Document]] | None = None
        self._gone: MongoClient[Document] | None = None

    def read(self, name: str, work: Callable[[Collection[Document]], T]) -> T:
        """Return what ``work`` reads from a collection, soon; a secondary answers while there is no primary."""
        return self._run(name, work, READ_S, ReadPreference.PRIMARY_PREFERRED)

    def run(self, name: str, work: Callable[[Collection[Document]], T]) -> T:
        """Return what ``work`` does to a collection, durable on a majority. It may be done twice."""
        return self._run(name, work, RUN_S, ReadPreference.PRIMARY)

    def write(self, name: str, writes: Sequence[Write]) -> None:
        """Carry writes of one document each out in bulk.

        Raises :class:`Overtaken` if a document was not as its filter says (or there already); the other writes
        are done then.
        """
        if writes and not self.run(name, lambda collection: _bulk(collection, writes)):
            raise Overtaken

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            held, self._client = self._client, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    def _run(
        self, name: str, work: Callable[[Collection[Document]], T], timeout_s: float, reads_from: Any
    ) -> T:
        try:
            with pymongo.timeout(timeout_s):
                for attempt in stamina.retry_context(
                    on=_may_pass,
                    attempts=_ATTEMPTS,
                    timeout=timeout_s,
                    wait_initial=0.02,
                    wait_max=0.5,
                    wait_jitter=0.05,
                ):
                    with attempt:
                        return self._attempt(name, work, reads_from)
        except (InvalidURI, ConfigurationError):
            # The text of these may hold a part of the URL.
            raise StorageUnavailable(
                "SLUICE_MONGO_URL is no connection string of MongoDB; correct it"
            ) from None
        except PyMongoError as error:
            self._note_gone()
            # What a refused operation says holds the documents.
            raise StorageUnavailable(_sentence(error)) from (
                None if isinstance(error, OperationFailure) else error
            )
        raise AssertionError

    def _attempt(self, name: str, work: Callable[[Collection[Document]], T], reads_from: Any) -> T:
        client = self._connected()
        if client is self._gone:
            if not client.topology_description.has_known_servers:
                raise ServerSelectionTimeoutError("no server since a call waited in vain")
            self._gone = None
        database = client.get_database(
            self._name,
            codec_options=CodecOptions(document_class=dict),
            read_preference=reads_from,
            write_concern=WriteConcern(w="majority", j=True),
        )
        try:
            return work(database[name])
        except OperationFailure as error:
            if error.code == _LOGIN_REFUSED:
                self._forget(client)
            raise

    def _note_gone(self) -> None:
        """Remember that a call waited in vain for a server: until one appears, the next ones need not."""
        held = self._client
        if held is not None and not held[1].topology_description.has_known_servers:
            self._gone = held[1]

    def _connected(self) -> MongoClient[Document]:
        held = self._client
        if held is None or held[0] != os.getpid():
            with self._lock:
                held = self._client
                if held is None or held[0] != os.getpid():
                    held = self._client = (os.getpid(), self._connect(self._url()))
        return held[1]

    def _forget(self, client: MongoClient[Document]) -> None:
        """Let the next call connect anew, with what the URL is by then."""
        with self._lock:
            if self._client is not None and self._client[1] is client:
                self._client = None
        client.close()


def _bulk(collection: Collection[Document], writes: Sequence[Write]) -> bool:
    """Return whether each of the writes found its document as its filter says."""
    try:
        done = collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        details = error.details or {}
        if details["writeConcernErrors"] or {each["code"] for each in details["writeErrors"]} != {
            _DUPLICATE_KEY
        }:
            raise
        return False
    return done.matched_count + done.inserted_count + done.upserted_count == len(writes)


def _may_pass(error: Exception) -> bool:
    """Whether the same call may succeed at once: over another connection, or with the password of now."""
    if isinstance(error, OperationFailure):
        return error.code == _LOGIN_REFUSED
    if isinstance(error, InvalidOperation):  # another thread has just let this client go
        return "after close" in str(error)
    lasting = isinstance(error, ServerSelectionTimeoutError) or getattr(error, "timeout", False)
    return isinstance(error, AutoReconnect) and not lasting


def _sentence(error: PyMongoError) -> str:
    """Return what happened, without what the driver says: it may name hosts, documents or a part of the URL."""
    if isinstance(error, ServerSelectionTimeoutError):
        return "MongoDB cannot be reached; check that it runs, and SLUICE_MONGO_URL"
    if error.timeout:
        return "MongoDB did not answer in time; check its load and the network"
    if isinstance(error, AutoReconnect):
        return "MongoDB broke the connection off; check that it runs"
    if isinstance(error, OperationFailure) and error.code == _LOGIN_REFUSED:
        return "MongoDB refused the login; check user and password in SLUICE_MONGO_URL"
    if isinstance(error, OperationFailure):
        return f"MongoDB refused an operation with code {_code(error)}; check the user's roles and the server's log"
    return f"MongoDB cannot be used: {type(error).__name__}; check its log"


def _code(error: OperationFailure) -> int | None:
    """Return the server's code; of a bulk that of its first refused write."""
    details = error.details or {}
    refused = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return refused[0].get("code") if refused else error.code
