"""Snapshots in S3: from a trainer's cut to a pod's copy, and what happens when the storage fails them."""

import gc
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import Child, Children, until
from object_storage import ENVIRONMENT, Bucket, bucket
from pod import MODEL, Pod, clustered, content, provenance
from trainer_world import DEADLINE_S, WARMUP, World

from sluice.catalog import CatalogEntry
from sluice.embedded.models import EmbeddedCatalog, model_database
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.routing import Routing
from sluice.snapshot import writer
from sluice.snapshot.entry import entry_of
from sluice.snapshot.manifest import MANIFEST, Manifest, digest_of
from sluice.snapshot.objects import Objects
from sluice.snapshot.remote import RemoteStore
from sluice.snapshot.store import SnapshotStore, open_store
from sluice_faiss.cache import Cache
from sluice_faiss.memory import Memory
from sluice_operator.verifying import VerifiedEntries
from sluice_trainer.cutting import Cutter


@pytest.fixture
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture
def store(s3: Bucket, tmp_path: Path) -> SnapshotStore:
    return open_store(s3.url, MODEL, tmp_path / "home")


class InStore(Children):
    """Starts modules with one store."""

    store = ""

    def start(self, module: str, *arguments: str, **how: Any) -> Child:
        added = {**how.pop("environment", {}), **({"SLUICE_STORE": self.store} if self.store else {})}
        return super().start(module, *arguments, environment=added, **how)


@pytest.fixture
def children(tmp_path: Path) -> Iterator[InStore]:
    started = InStore(tmp_path / "logs")
    yield started
    started.kill_all()


def write(directory: Path) -> Manifest:
    return writer.write(directory, content(clustered(300, 8)), provenance(directory.name))


def published(store: SnapshotStore, name: str) -> CatalogEntry:
    return entry_of(store.uri(name), store.publish(name, write), 1)


def kept() -> set[str]:
    return {"s1", "s2"}


# --- the whole way


def test_a_pod_serves_by_the_entrys_uri_what_a_trainer_cut_into_s3(
    s3: Bucket, children: InStore, tmp_path: Path
) -> None:
    pod = Pod(tmp_path, children)
    world = World(tmp_path, children, cut_events=60)
    key = world.model.key
    children.store = s3.url

    def cut(count: int) -> list[CatalogEntry]:
        until(lambda: len(world.catalog.entries()) >= count, f"{count} snapshots", DEADLINE_S)
        return world.catalog.entries()

    world.send(2 * WARMUP)
    trainer = world.start()
    first = cut(1)[0].id
    world.routing.publish(Routing(epoch=1, rollout="r", stable=first, candidate=first, weight=0, renewed=0.0))
    world.send(90)
    before = len(cut(2))

    s3.server.stop()
    world.send(270)
    until(lambda: "cannot be used now (EndpointConnectionError)" in trainer.says(), "told", DEADLINE_S)
    assert trainer.running
    s3.server.start()
    cut(before + 1)
    until(lambda: world.evidence.totals("r", 0).paired, "evidence of what routing names", DEADLINE_S)
    assert trainer.stop(DEADLINE_S) == 0, trainer.says()[-3000:]
    assert "test-secret" not in trainer.says()

    entries = world.catalog.entries()
    assert all(entry.uri == f"{s3.url}/{key}/{entry.id}" for entry in entries)
    assert not (world.home.folder / "snapshots").exists()
    copies = [each for each in (world.home.folder / "copies" / key).iterdir() if each.name[0] != "."]
    assert 1 <= len(copies) <= 4
    children.store = ""
    pod.want(entries[0].id, entries[-1].id)
    pod.start(model=key, workers=2)
    until(lambda: set(pod.loaded()) == {entries[0].id, entries[-1].id}, f"loaded: {pod.says()}", DEADLINE_S)
    assert pod.search(entries[-1].id)


# --- a pod's cache


def test_only_the_manifest_of_a_snapshot_that_does_not_fit_is_read(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, names = published(store, "s1"), []
    real = Objects.read
    monkeypatch.setattr(
        Objects,
        "read",
        lambda objects, folder, name, *range_: names.append(name) or real(objects, folder, name, *range_),
    )
    with pytest.raises(SnapshotRefused, match="bytes are missing"):
        Cache(tmp_path / "cache", None, Memory(bound=entry.bytes - 1)).fetch(entry, kept)
    assert names == [MANIFEST]
    assert Cache(tmp_path / "cache", None, Memory(bound=entry.bytes)).fetch(entry, kept).is_dir()


@pytest.mark.parametrize("name", ["items.matrix.npy", MANIFEST])
def test_a_damaged_snapshot_is_refused_leaves_nothing_and_a_mended_one_is_fetched(
    store: SnapshotStore, s3: Bucket, tmp_path: Path, name: str
) -> None:
    entry, cache, verified = (
        published(store, "s1"),
        Cache(tmp_path / "cache", None),
        VerifiedEntries(None, tmp_path),
    )
    key = f"{MODEL}/s1/{name}"
    good = s3.get(key)
    s3.put(key, good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
    with pytest.raises(SnapshotRefused):
        cache.fetch(entry, kept)
    assert not until(lambda: [verified(entry)], "an answer")[0]
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [".lock"]
    s3.put(key, good)
    assert cache.fetch(entry, kept).is_dir()
    again = VerifiedEntries(None, tmp_path)
    until(lambda: again(entry), "verified")


def test_a_file_cut_short_while_it_is_fetched_is_refused(
    store: SnapshotStore, s3: Bucket, tmp_path: Path
) -> None:
    made, folder = store.publish("s1", write), tmp_path / "copy"
    folder.mkdir()
    s3.put(f"{MODEL}/s1/items.matrix.npy", b"short")
    with pytest.raises(SnapshotRefused, match=r"items.matrix.npy of s1 has been cut short"):
        store.fetch(made, folder)
    s3.delete(f"{MODEL}/s1/items.matrix.npy")
    with pytest.raises(SnapshotRefused, match=r"items.matrix.npy of s1 is missing"):
        store.fetch(made, folder)


def test_a_verifier_asks_again_once_the_storage_is_back(
    store: SnapshotStore, s3: Bucket, tmp_path: Path
) -> None:
    entry, verified = published(store, "s1"), VerifiedEntries(None, tmp_path)
    s3.server.stop()
    assert not verified(entry)
    s3.server.start()
    until(lambda: verified(entry), "verified")


# --- copies on the trainer's machine


def test_a_copy_serves_while_the_storage_is_away_and_few_are_kept(
    store: SnapshotStore, s3: Bucket, tmp_path: Path
) -> None:
    for number in range(6):
        store.publish(f"s{number}", write)
    elsewhere = open_store(s3.url, MODEL, tmp_path / "elsewhere")
    for number in range(6):
        elsewhere.open(f"s{number}")
    s3.server.stop()
    for machine in (store, elsewhere):
        folders = {each.name for each in machine.local("s5").parent.iterdir() if each.name[0] != "."}
        assert folders == {"s2", "s3", "s4", "s5"}
        assert machine.open("s5") == machine.local("s5")
        with pytest.raises(StorageUnavailable):
            machine.open("s0")


def test_an_unsound_copy_is_fetched_again(store: SnapshotStore) -> None:
    entry = published(store, "s1")
    (store.local("s1") / "items.matrix.npy").write_bytes(b"damaged")
    assert store.open("s1", entry.digest) == store.local("s1")
    assert store.verify("s1") == store.manifest("s1")


# --- killed in mid-upload


def upload_and_die(store: SnapshotStore, name: str, after: int) -> int:
    """Publish in a child that is killed when it has sent so many files; return the signal, 0 if it came through."""
    pid = os.fork()
    if pid == 0:
        sent, real = [], Objects.write

        def sending(objects: Objects, folder: str, file: Path) -> None:
            if len(sent) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            sent.append(real(objects, folder, file))

        Objects.write = sending  # type: ignore[method-assign]
        try:
            store.publish(name, write)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def test_killed_in_mid_upload_no_snapshot_is_visible_and_the_next_trainer_clears_it(
    store: SnapshotStore, s3: Bucket, tmp_path: Path
) -> None:
    catalog = EmbeddedCatalog(model_database(tmp_path / "model.db"))
    catalog.commit(published(store, "s1"))
    files, killed = len(s3.keys()), 0
    for after in (0, 1, files - 1, files):
        killed += upload_and_die(store, "s2", after) == signal.SIGKILL
        if after < files:
            with pytest.raises(SnapshotRefused, match="s2 is not in the store"):
                store.survey("s2")
        assert store.ids() == ({"s1", "s2"} if after else {"s1"})
        Cutter(store, catalog, catalog.claim()).sweep(None, set())
        assert store.ids() == {"s1"}
        assert len(s3.keys()) == files
    assert killed == 3
    assert store.verify("s1").id == "s1"


def test_without_any_entry_nothing_is_cleared(store: SnapshotStore, tmp_path: Path) -> None:
    store.publish("s1", write)
    catalog = EmbeddedCatalog(model_database(tmp_path / "model.db"))
    Cutter(store, catalog, catalog.claim()).sweep(None, set())
    assert store.ids() == {"s1"}


def test_what_is_left_of_a_large_upload_is_cleared_too(store: SnapshotStore, s3: Bucket) -> None:
    """It is no object yet: nobody sees it, but it is paid for."""
    for folder in (MODEL, "default.other"):
        place = {"Bucket": s3.name, "Key": f"{folder}/s1/items.matrix.npy"}
        begun = s3.client.create_multipart_upload(**place)
        s3.client.upload_part(**place, UploadId=begun["UploadId"], PartNumber=1, Body=b"part")
    assert store.ids() == {"s1"}
    store.delete("s1")
    assert store.ids() == set()
    left = s3.client.list_multipart_uploads(Bucket=s3.name)["Uploads"]
    assert [each["Key"] for each in left] == ["default.other/s1/items.matrix.npy"]


def test_a_trainer_begins_while_the_storage_is_away_and_clears_it_later(
    store: SnapshotStore, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice_trainer.cutting.PATIENCE_S", 0.0)
    catalog = EmbeddedCatalog(model_database(tmp_path / "model.db"))
    catalog.commit(published(store, "s1"))
    store.publish("s2", write)
    s3.server.stop()
    cutter = Cutter(store, catalog, catalog.claim())
    cutter.sweep(None, set())
    s3.server.start()
    cutter.sweep(None, set())
    assert store.ids() == {"s1"}


def test_an_upload_that_broke_off_goes_on_where_it_was(
    store: SnapshotStore, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, written, real = [], [], Objects.write

    def breaking(objects: Objects, folder: str, file: Path) -> None:
        if len(sent) == 3 and not s3_is_back:
            s3.server.stop()
        real(objects, folder, file)
        sent.append(file.name)

    def counted(directory: Path) -> Manifest:
        written.append(directory)
        return write(directory)

    monkeypatch.setattr(Objects, "write", breaking)
    s3_is_back = False
    with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
        store.publish("s1", counted)
    s3.server.start()
    s3_is_back = True
    made = store.publish("s1", counted)
    assert sorted(sent) == sorted([*made.files, MANIFEST])
    assert sent[-1] == MANIFEST
    assert len(written) == 1
    assert store.verify("s1") == made


def test_overtaken_in_mid_upload_a_trainer_leaves_what_the_other_has_put_there(
    store: SnapshotStore, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog has the digest of the other's manifest: nothing may be sent after it."""
    real, sent, others = Objects.write, [], []

    def overtaken(objects: Objects, folder: str, file: Path) -> None:
        real(objects, folder, file)
        sent.append(file.name)
        if len(sent) == 2:
            monkeypatch.setattr(Objects, "write", real)
            others.append(open_store(s3.url, MODEL, tmp_path / "other").publish("s1", write))

    def write_late(directory: Path) -> Manifest:
        made = provenance(directory.name) | {"created": 1.0}
        return writer.write(directory, content(clustered(300, 8)), made)

    monkeypatch.setattr(Objects, "write", overtaken)
    with pytest.raises(StorageUnavailable, match="another trainer has just published s1"):
        store.publish("s1", write_late)
    assert store.publish("s1", write_late) == others[0]
    assert open_store(s3.url, MODEL, tmp_path / "third").verify("s1", digest_of(others[0])) == others[0]


def test_a_forked_child_does_not_finalize_what_its_parent_has_open(s3: Bucket, tmp_path: Path) -> None:
    """It would wait for the parent's loop, which runs in no child: two seconds [M]."""
    objects = Objects(s3.url)
    objects.folders()
    parents = weakref.ref(objects._opened[0])
    gc.collect()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            objects.folders()
            gc.collect()
            code = 0 if parents() is not None and parents() is not objects._opened[0] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_upload_that_stalls_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.snapshot.objects._UPLOAD_S", 1.0)
    monkeypatch.setattr("sluice.snapshot.objects._SLOWEST", 1 << 40)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "items.matrix.npy"
    file.write_bytes(bytes(8 << 20))
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and reads nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        objects, began = Objects("s3://bucket/prefix"), time.monotonic()
        with pytest.raises(StorageUnavailable, match="cannot be used now"):
            objects.write("s1", file)
        assert time.monotonic() - began < DEADLINE_S


# --- what the storage says


def test_a_missing_bucket_is_named(s3: Bucket, tmp_path: Path) -> None:
    store = open_store("s3://not-there", MODEL, tmp_path)
    for ask in (store.ids, lambda: store.survey("s1"), lambda: store.publish("s1", write)):
        with pytest.raises(StorageUnavailable, match="s3://not-there does not exist; create it or correct"):
            ask()


class Refusing(BaseHTTPRequestHandler):
    """Answers as S3 does to a key it does not accept."""

    code, status = "InvalidAccessKeyId", 403

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = f"<Error><Code>{self.code}</Code><Message>{self.headers}</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    handler = type("Handler", (Refusing,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("AccessDenied", 403, "s3://bucket refuses access (AccessDenied); check the credentials"),
        ("InvalidAccessKeyId", 403, "s3://bucket refuses access (InvalidAccessKeyId); check the credentials"),
        ("SignatureDoesNotMatch", 403, "s3://bucket refuses access (SignatureDoesNotMatch)"),
        ("ExpiredToken", 400, "s3://bucket refuses access (ExpiredToken)"),
        ("NoSuchBucket", 404, "s3://bucket does not exist; create it or correct SLUICE_STORE"),
        ("Elsewhere", 404, "s3://bucket cannot be used now"),
        ("InternalError", 500, "s3://bucket cannot be used now (InternalError); check its endpoint"),
    ],
)
def test_what_the_storage_refuses_is_one_sentence_without_secrets(
    refusing: type[Refusing], tmp_path: Path, code: str, status: int, words: str
) -> None:
    refusing.code, refusing.status = code, status
    store = open_store("s3://bucket/prefix", MODEL, tmp_path)
    entry = entry_of(store.uri("s1"), write(tmp_path / "s1"), 1)
    for ask in (
        store.ids,
        lambda: store.verify("s1"),
        lambda: store.publish("s1", write),
        lambda: store.delete("s1"),
        lambda: store.open("s1"),
        lambda: Cache(tmp_path / "cache", None).fetch(entry, kept),
    ):
        with pytest.raises(StorageUnavailable) as told:
            ask()
        assert words in str(told.value)
        assert "test-" not in str(told.value)
        assert "\n" not in str(told.value)


def test_without_credentials_the_sentence_says_so(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageUnavailable, match="refuses access \\(NoCredentialsError\\)"):
        RemoteStore(f"{s3.url}/{MODEL}", tmp_path).ids()
