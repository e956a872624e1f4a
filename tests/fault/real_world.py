"""A whole platform on a real Kafka, MongoDB and Redis that a test may hurt, and the one ledger that judges it.

What was appended is remembered, also when Kafka has deleted it since; so are the trainer's plans. Then everything
that the services hold must follow from the log: see :meth:`RealWorld.judge` and :meth:`RealWorld.judge_trainer`.
"""

import contextlib
import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import urllib3
import yaml
from clients import Client, Ledger
from harness import until
from oracle import Origin, Truth, check_counts, check_users
from prometheus_client.parser import text_string_to_metric_families
from threadpoolctl import threadpool_limits

from sluice import models
from sluice.backing import Backing
from sluice.embedded.models import EmbeddedCatalog, model_database
from sluice.errors import InvalidRecord, StorageUnavailable
from sluice.events import EventLog, NewRecord, Partition, StoredRecord
from sluice.kafka.log import KafkaLog
from sluice.mongo.database import MongoDatabase
from sluice.mongo.sources import MongoItems, MongoPopularity, MongoProfiles
from sluice.records import check_id, decode_answer, decode_item, decode_user
from sluice.routing import Routing
from sluice.settings import Settings
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.verify import verify
from sluice.topics import profiles_group, topics_of
from sluice_cli.demo.run import sample
from sluice_cli.fleet import Files
from sluice_cli.platform import Platform
from sluice_cli.processes import Service
from sluice_trainer import checkpoint, journal
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.trainer import Trainer

SOURCE, KEY = "shop", "default.demo"
TOPICS = topics_of(SOURCE)
WARMUP, CUT_EVENTS, WEIGHT = 400, 500, 33
STRATEGIES = {"personalized", "session", "features", "similar", "popular"}
READERS = ("profiles", "trainer")
LINK_S = 0.05

eventually = partial(until, timeout_s=45.0, poll_s=0.1)


class History:
    """All records of a source as they were appended; reads like the log that still has them all."""

    def __init__(self, log: EventLog) -> None:
        self._log, self._lost = log, set[Origin]()
        self._records: dict[Partition, list[StoredRecord]] = defaultdict(list)
        self._noted: dict[Partition, int] = {}

    def note(self) -> None:
        """Remember what was appended since the last time."""
        for topic in TOPICS:
            ends = self._log.end_offsets(topic)
            for partition, end in ends.items():
                while (at := self._noted.get(partition, 0)) < end:
                    found = self._log.read({partition: at}, 10_000, 1.0)
                    self._records[partition] += found
                    self._noted[partition] = found[-1].offset + 1 if found else at

    def begin_anew(self, topic: str, log: EventLog) -> None:
        """Take a topic for created anew: what comes is remembered behind what was there.

        It is read by another ``log``, which knows nothing of the topic that was.
        """
        self.note()
        self._log = log
        self._noted = {part: at for part, at in self._noted.items() if part.topic != topic}

    def lose(self, partition: Partition, start: int, end: int) -> None:
        """Take records for lost before anybody read them."""
        self._lost |= {(partition.topic, partition.number, offset) for offset in range(start, end)}

    def all(self, topic: str) -> list[StoredRecord]:
        """Return the records of a topic, partition after partition."""
        return [each for part, found in self._records.items() if part.topic == topic for each in found]

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`; here of what was noted."""
        return {part: at for part, at in self._noted.items() if part.topic == topic}

    def read(self, positions: Mapping[Partition, int], _limit: int, _timeout_s: float) -> list[StoredRecord]:
        """Return all from the positions on that is not lost."""
        return [
            each
            for part, at in positions.items()
            for each in self._records[part]
            if each.offset >= at and (part.topic, part.number, each.offset) not in self._lost
        ]


class RealTruth(Truth):
    """What the log says, records with any key and value among them."""

    def _answer(self, record: StoredRecord) -> None:
        check_id(decode_answer(record.value or b"").user_id, "user_id")
        super()._answer(record)

    def _item(self, record: StoredRecord) -> None:
        check_text(record)
        super()._item(record)

    def _user(self, record: StoredRecord) -> None:
        check_text(record)
        if record.value is not None and decode_user(record.value).user_id.encode() != record.key:
            raise InvalidRecord("bad-key", "the key names another user")
        super()._user(record)


def check_text(record: StoredRecord) -> None:
    """Raise unless a key of a compacted topic is an id."""
    try:
        check_id(record.key.decode(), "key")
    except UnicodeDecodeError as error:
        raise InvalidRecord("bad-id", "the key is no text") from error


def origin_named(letter: StoredRecord) -> Origin:
    """Return where a dead letter says that its record lies."""
    headers = dict(letter.headers)
    return headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])


class SteeredPlatform(Platform):
    """A platform of which some services may rest; all others are kept up as ever."""

    def __init__(self, home: Path, model_file: Path, connected: Settings) -> None:
        self.resting = set[str]()
        super().__init__(home, model_file, 0, connected)

    def wake(self, services: Iterable[str]) -> None:
        """Let services run again; return when they are ready."""
        self.resting -= set(services)
        self._supervisor.wait_ready(services, 120.0)

    def _all_wanted(self) -> Mapping[str, Service]:
        return {name: each for name, each in super()._all_wanted().items() if name not in self.resting}


def model_document() -> dict[str, Any]:
    """Return a model whose candidate keeps a third of the users."""
    model = yaml.safe_load(sample().read_bytes())
    spec = model["spec"]
    spec["algorithm"] = {"type": "GMF", "parameters": {"dimension": 8, "epochs": 1, "batch": 64}}
    spec["source"] |= {"name": SOURCE, "attributionWindow": "1s"}
    spec["snapshots"] |= {"events": CUT_EVENTS, "interval": "10h"}
    spec["rollout"] |= {
        "steps": [{"setWeight": WEIGHT}, {"pause": {}}],
        "progressDeadline": "10m",
        "gates": [],
    }
    return dict(model)


class RealWorld:
    """The platform over servers of the test's own: they hold nothing else."""

    def __init__(self, folder: Path, connected: Settings, log: KafkaLog) -> None:
        """``log`` is how the test itself reaches Kafka."""
        self.folder, self.log, self.history = folder, log, History(log)
        self.connected = msgspec.structs.replace(connected, mongo_database=f"test-{secrets.token_hex(4)}")
        file = folder / "model.yaml"
        file.write_text(yaml.safe_dump(model_document()))
        self.model = models.load(file)
        self.platform = SteeredPlatform(folder / "home", file, self.connected)
        self.backing = Backing(msgspec.structs.replace(self.connected, home=str(folder / "home")))
        self._mongo = MongoDatabase(lambda: connected.mongo_url, self.connected.mongo_database)
        self.ledger, self._links = Ledger(), Links(self.place, folder / "links")
        self.http = urllib3.PoolManager(timeout=urllib3.Timeout(20.0), retries=False)
        self._sent = self._clients = 0
        self.restarted = set[str]()
        """Services that a test ended on purpose."""

    def start(self) -> None:
        """Start everything; a stable snapshot answers when this returns."""
        self.platform.start()
        self._links.start()
        self.platform.start_trainer(warmup_events=WARMUP)
        self.send(2 * WARMUP)
        eventually(lambda: (seen := self.routing()) is not None and seen.stable, "a snapshot is stable")

    def roll(self) -> Routing:
        """Have a candidate that a third of the users get; return its routing."""
        while (seen := self.routing()) is None or seen.weight != WEIGHT:
            self.send(CUT_EVENTS // 2)
            self.caught_up()
        return seen

    def stop(self) -> None:
        """Stop the platform; the servers are the test's."""
        self._links.stop()
        self.platform.stop()
        self._mongo.close()
        self.backing.close()
        self.log.close()

    # --- what is sent

    def send(self, count: int, users: int = 40) -> None:
        """Append sound interactions straight to Kafka."""
        events = []
        for number in range(self._sent, self._sent + count):
            user, item = f"sent-{number * 7 % users}", f"item-{number * number % 83 % 60}"
            events.append({"user_id": user, "item_id": item, "event_id": f"sent-{number}"})
        self._sent += count
        self.append(events)

    def append(self, events: list[dict[str, Any]]) -> None:
        """Append interactions; those with an event id are in the ledger once Kafka has them."""
        records = [NewRecord(each["user_id"].encode(), msgspec.json.encode(each)) for each in events]
        self.log.append(TOPICS.interactions, records)
        self.ledger.accept([each for each in events if "event_id" in each])

    @contextmanager
    def busy(self, clients: int = 3, pause_s: float = 0.05) -> Iterator[None]:
        """Have clients post, ask and forget all the while; what was not acknowledged they send again."""
        stopping = threading.Event()
        threads = [
            Client(n, self.platform.api, self.ledger, stopping, pause_s) for n in self._numbers(clients)
        ]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            stopping.set()
            for each in threads:
                each.join(60.0)
        assert not any(each.is_alive() for each in threads), "what is not acknowledged is sent until it is"

    def _numbers(self, count: int) -> range:
        self._clients += count
        return range(self._clients - count, self._clients)

    def ask(self, method: str, path: str, document: object = None) -> tuple[int, dict[str, Any], float]:
        """Return status, document and seconds of one request to the API."""
        began = time.monotonic()
        body = None if document is None else msgspec.json.encode(document)
        headers = {"Content-Type": "application/json"}
        answer = self.http.request(method, self.platform.api + path, body=body, headers=headers)
        return answer.status, answer.json(), time.monotonic() - began

    # --- what is seen

    @property
    def place(self) -> Path:
        """Where the trainer keeps the folders of its epochs."""
        return self.folder / "home" / "trainer" / KEY / Trainer(self.model, 0).position.spec_hash

    def routing(self) -> Routing | None:
        """Return the routing in force; None as well while Redis does not answer."""
        with contextlib.suppress(StorageUnavailable):
            return self.backing.routing(KEY).read()
        return None

    def pids(self) -> dict[str, int | None]:
        """Return the process ids of those that are there all the time."""
        return {name: pid for name, pid in self.platform.pids().items() if not name.startswith("canary")}

    def says(self, service: str) -> str:
        """Return a service's log."""
        return (self.folder / "home" / "logs" / f"{service}.log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """Return what the trainer tells; empty while it does not answer."""
        try:
            answer = urllib3.request("GET", self.platform.trainer_status, timeout=5.0, retries=False)
        except urllib3.exceptions.HTTPError:
            return {}
        return dict(answer.json()) if answer.status == 200 else {}

    def counted(self, service: str, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by its labels' values, in the order of their names."""
        told = Files(self.folder / "home").platform()
        assert told is not None
        [url] = [each.url for each in told.processes if each.name == service]
        page = urllib3.request("GET", f"{url}/metrics", timeout=10.0, retries=False).data.decode()
        samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
        found = [each for each in samples if each.name == name]
        return {tuple(value for _, value in sorted(each.labels.items())): each.value for each in found}

    def committed(self) -> dict[Partition, int]:
        """Return the positions of the profiles process."""
        return self.log.committed(profiles_group(SOURCE))

    def rest(self, *services: str) -> None:
        """Have services end and stay so."""
        pids = [pid for name, pid in self.platform.pids().items() if name in services and pid]
        self.platform.resting |= set(services)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"{services} ended")

    def wake(self, *services: str) -> None:
        """Have them start again."""
        self.platform.wake(services)

    def profiled(self) -> bool:
        """Return whether profiles have passed all that is in Kafka."""
        committed = self.committed()
        return all(committed.get(part, 0) == end for topic in TOPICS[:4] for part, end in self._ends(topic))

    def applied(self) -> bool:
        """Return whether profiles and trainer have passed all that is in Kafka."""
        offsets = self.status().get("offsets", {})
        ends = self._ends(TOPICS.interactions)
        return self.profiled() and all(offsets.get(str(part.number), 0) == end for part, end in ends)

    def _ends(self, topic: str) -> list[tuple[Partition, int]]:
        return list(self.log.end_offsets(topic).items())

    def caught_up(self) -> None:
        """Wait until everything that is in Kafka was passed by profiles and trainer."""

        def reached() -> bool:
            with contextlib.suppress(StorageUnavailable):
                return self.applied()
            return False

        eventually(reached, "profiles and trainer have caught up")

    def caught_up_with(self, holds: Callable[[], object]) -> None:
        """Wait for ``holds``, and then until everything that is in Kafka then was passed, though more may come."""
        eventually(holds, "the platform works again")
        ends = [(part, end) for topic in TOPICS[:4] for part, end in self._ends(topic)]
        learned = dict(self._ends(TOPICS.interactions))

        def passed() -> bool:
            with contextlib.suppress(StorageUnavailable):
                committed, offsets = self.committed(), self.status().get("offsets", {})
                return all(committed.get(part, 0) >= end for part, end in ends) and all(
                    offsets.get(str(part.number), 0) >= end for part, end in learned.items()
                )
            return False

        eventually(passed, "profiles and trainer go on")

    # --- the ledger

    def judge(self) -> Truth:
        """Assert, once all has caught up, that each accepted event was applied or dead-lettered exactly once."""
        self.caught_up()
        self.history.note()
        source = self.model.spec.source
        truth = RealTruth(self.history, {kind: float(w) for kind, w in source.event_weights.items()}, SOURCE)
        assert not self.ledger.unexpected, self.ledger.unexpected[:5]
        assert not set(self.ledger.accepted) - set(truth.occurrences), "accepted events are not in the log"
        self._judge_stores(truth)
        told = [origin_named(each) for each in self.history.all(TOPICS.dead_letters)]
        assert len(told) == len(set(told)), "a dead letter was written twice"
        assert set(told) == truth.letters
        status = self.status()
        assert {name: status[name] for name in ("interactions", "duplicates", "forgets", "rejected")} == {
            "interactions": truth.interactions,
            "duplicates": truth.repeated,
            "forgets": truth.forgets,
            "rejected": sum(topic == TOPICS.interactions for topic, _, _ in truth.letters),
        }
        assert status["refused"] == 0
        return truth

    def _judge_stores(self, truth: Truth) -> None:
        check_users(MongoProfiles(self._mongo, SOURCE), truth, self._stored("profiles"))
        check_counts(self.popularity(), truth)
        items = MongoItems(self._mongo, SOURCE).get(sorted(self._stored("items")))
        assert items == {name: decode_item(value) for name, value in truth.items.items()}

    def popularity(self) -> dict[str, float]:
        """Return the count of each item there is."""
        return MongoPopularity(self._mongo, SOURCE).of(self._stored("popularity"))

    def _stored(self, kind: str) -> set[str]:
        return set(self._mongo.run(f"{SOURCE}.{kind}", lambda collection: collection.distinct("_id")))

    def judge_trainer(self) -> None:
        """Assert that the trainer, stopped here, leaves what a replay of its journaled plans leaves."""
        self.caught_up()
        self.history.note()
        self.rest("trainer")
        plans, final = self._links.plans(), checkpoint.newest(max(self.place.glob("epoch-*")))
        assert final is not None
        assert [each.sequence for each in plans] == list(range(1, final.position.sequence + 1))
        trainer, catalog = self._replayed(plans)
        expected = trainer.checkpoint()
        assert final.position == expected.position
        assert (final.users, final.items) == (expected.users, expected.items)
        assert set(final.arrays) == set(expected.arrays)
        for name, array in expected.arrays.items():
            assert final.arrays[name].tobytes() == array.tobytes(), name
        digests = {each.id: each.digest for each in catalog.entries()}
        ours = self.backing.catalog(KEY).entries()
        assert ours
        for entry in ours:
            assert entry.digest == digests[entry.id], "the replay cuts the same snapshot"
            assert verify(self.folder / "home" / "snapshots" / KEY / entry.id, entry.digest)
        self.wake("trainer")

    def _replayed(self, plans: list[journal.Plan]) -> tuple[Trainer, EmbeddedCatalog]:
        import torch

        torch.set_num_threads(1)
        folder = self.folder / f"replay-{len(plans)}"
        folder.mkdir()
        trainer, store = Trainer(self.model, 0), FolderStore(folder / "store")
        catalog = EmbeddedCatalog(model_database(folder / "replay.db"))
        cutter, contenders = Cutter(store, catalog, catalog.claim()), Contenders(store)
        with threadpool_limits(1):
            for plan in plans:
                trainer.apply(plan, self._records(plan), contenders.of(plan.routing))
                if trainer.cut_due(plan.rules):
                    cutter.cut(trainer, plan.now)
        return trainer, catalog

    def _records(self, plan: journal.Plan) -> list[StoredRecord]:
        found = []
        for part, (start, end) in sorted(plan.ranges.items()):
            own = self.history.read({Partition(TOPICS.interactions, part): start}, 0, 0.0)
            found += own[: end - start]
            assert [each.offset for each in own[: end - start]] == list(range(start, end))
        return found


class Links(threading.Thread):
    """Keeps a trainer's journals by hard links: it deletes those that its checkpoints make needless."""

    def __init__(self, place: Path, kept: Path) -> None:
        super().__init__(name="links", daemon=True)
        self._place, self._kept, self._stopping = place, kept, threading.Event()
        kept.mkdir()

    def run(self) -> None:
        """Link what is new until told to stop."""
        while not self._stopping.wait(LINK_S):
            self._link()

    def _link(self) -> None:
        for path in self._place.glob("*/journal-*.log"):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(path, self._kept / path.name)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def plans(self) -> list[journal.Plan]:
        """Return every plan ever journaled."""
        self._link()
        return journal.plans_in(self._kept)


class Asking:
    """Asks for answers all the while; each must be a 200 with its strategy, whatever is gone."""

    def __init__(self, world: RealWorld, threads: int = 2) -> None:
        self._world, self._stopping = world, threading.Event()
        self.answers: list[tuple[int, str, str, float]] = []
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30.0)

    def more(self, count: int = 30) -> list[tuple[int, str, str, float]]:
        """Wait for so many more answers; return them."""
        there = len(self.answers)
        eventually(lambda: len(self.answers) >= there + count, f"{count} answers")
        return self.answers[there:]

    def _run(self, number: int) -> None:
        while not self._stopping.wait(0.05):
            for path in (f"/v1/recommendations/sent-{number}?n=5", "/v1/popular?n=5"):
                try:
                    status, document, took_s = self._world.ask("GET", path)
                except urllib3.exceptions.HTTPError as error:
                    status, document, took_s = 0, {"strategy": repr(error)}, 0.0
                told = (str(document.get("strategy")), str(document.get("track")))
                self.answers.append((status, *told, took_s))

    def judge(self) -> None:
        """Assert it."""
        assert self.answers
        for each in self.answers:
            assert each[0] == 200, each
            assert set(each[1].split("+")) <= STRATEGIES, each


def eventually_says(world: RealWorld, service: str, words: str, since: int = 0) -> None:
    """Wait for words in what a service has logged since that many characters."""
    eventually(lambda: words in world.says(service)[since:], f"{service} says {words}")
