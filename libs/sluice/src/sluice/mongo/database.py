"""One database of a MongoDB server: connected when first used, every call bounded, errors as one sentence."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import pymongo
import stamina
from pymongo import InsertOne, MongoClient, ReadPreference, ReplaceOne, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_preferences import PrimaryPreferred

from sluice.credentials import Credential
from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.mongo.client import CODEC, UNUSABLE_URL, Document, connect
from sluice.mongo.failures import LOGIN_REFUSED, may_pass, sentence

READ_S: Final = 2.0
"""How long a read may take in all; the API waits for it."""
RUN_S: Final = 10.0
STALENESS_S: Final = 90
"""A secondary that is further behind answers no reads; the driver takes no shorter time."""
AT_ONCE: Final = 500
"""As many documents of a batch share one call, with its bound; the next ones are the next call's."""
_READS_FROM: Final = PrimaryPreferred(max_staleness=STALENESS_S)
_ATTEMPTS: Final = 4
_OVERTAKEN_ATTEMPTS: Final = 50
_DUPLICATE_KEY: Final = 11_000

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


def slices(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return what is to be asked or written, in parts of one call each."""
    for start in range(0, len(whole), AT_ONCE):
        yield whole[start : start + AT_ONCE]


class MongoDatabase:
    """Collections by name. May be made before a fork; threads share it.

    ``url`` is looked up when a client is made: at first, in a forked child, and when a login was refused (the
    password may have been changed). Whatever the server cannot do now raises :class:`StorageUnavailable`, and so does
    a URL that is of no use by now.
    """

    def __init__(
        self, url: Credential, name: str, connect: Callable[[str], MongoClient[Document]] = connect
    ) -> None:
        self._url, self._name, self._connect = url, name, connect
        self._lock = threading.Lock()
        self._client: tuple[int, MongoClient[Document]] | None = None
        self._gone: MongoClient[Document] | None = None

    def read(self, name: str, work: Callable[[Collection[Document]], T]) -> T:
        """Return what ``work`` reads from a collection, soon.

        While there is no primary a secondary answers: with what was true up to :data:`STALENESS_S` ago, and
        nothing tells it from what is true now. A cache above keeps it all the same.
        """
        return self._run(name, work, READ_S, _READS_FROM)

    def run(self, name: str, work: Callable[[Collection[Document]], T]) -> T:
        """Return what ``work`` does to a collection, durable on a majority. It may be done twice."""
        return self._run(name, work, RUN_S, ReadPreference.PRIMARY)

    def write(self, name: str, writes: Sequence[Write]) -> None:
        """Carry writes of one document each out in bulk, so many at a time.

        Raises :class:`Overtaken` if a document was not as its filter says (or there already); the other writes
        are done then.
        """
        done = [self.run(name, partial(_bulk, writes=some)) for some in slices(writes)]
        if not all(done):
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
                    on=may_pass,
                    attempts=_ATTEMPTS,
                    timeout=timeout_s,
                    wait_initial=0.02,
                    wait_max=0.5,
                    wait_jitter=0.05,
                ):
                    with attempt:
                        return self._attempt(name, work, reads_from)
        except InvalidSetting as error:
            raise StorageUnavailable(str(error)) from error
        except ConfigurationError:  # its text may hold a part of the URL
            raise StorageUnavailable(UNUSABLE_URL) from None
        except PyMongoError as error:
            self._note_gone()
            # What a refused operation says holds the documents.
            raise StorageUnavailable(sentence(error)) from (
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
            codec_options=CODEC,
            read_preference=reads_from,
            write_concern=WriteConcern(w="majority", j=True),
        )
        try:
            return work(database[name])
        except OperationFailure as error:
            if error.code == LOGIN_REFUSED:
                self._forget(client)
            raise

    def _note_gone(self) -> None:
        """Remember that a call waited in vain for a server: until one appears, the next ones need not.

        No :class:`~sluice.circuit.Circuit`: the driver looks for servers by itself, so that no call has to try.
        """
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
