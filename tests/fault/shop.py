"""A home with a log into which a test writes some of everything, and a rollout whose answers count."""

import itertools
import random
import time
from pathlib import Path
from typing import Any

import yaml
from harness import Child, Children
from oracle import SOURCE

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedRouting
from sluice.events import EventLog, NewRecord
from sluice.records import Answer, encode
from sluice.routing import Routing
from sluice.topics import profiles_group, topics_of
from sluice_cli.demo.run import sample

KEY = "default.demo"
WINDOW_MS = 1_000


class Shop:
    """The home, the log, and the profiles process over it."""

    users, items = 6, 9
    forgets_one_in = 1

    def __init__(self, folder: Path, children: Children, source: str = SOURCE) -> None:
        self.home, self._children = Home(folder / "home"), children
        self.home.folder.mkdir()
        self.source, self.topics = source, topics_of(source)
        model = yaml.safe_load(sample().read_bytes())
        model["spec"]["source"]["name"] = source
        model["spec"]["source"]["attributionWindow"] = f"{WINDOW_MS // 1000}s"
        self._model = folder / "model.yaml"
        self._model.write_text(yaml.safe_dump(model))
        self.weights = {k: float(v) for k, v in model["spec"]["source"].get("eventWeights", {}).items()}
        self.log = self.open_log()
        self.roll()
        self._chance, self._numbers = random.Random(7), itertools.count()

    def open_log(self) -> EventLog:
        return self.home.log(self.source)

    def roll(self) -> None:
        routing = Routing(
            epoch=1, rollout="r", stable="s1", candidate="s2", weight=5, renewed=time.time() - 1.0
        )
        EmbeddedRouting(self.home.model(KEY)).publish(routing)

    def process(self, more: dict[str, str] | None = None, **how: Any) -> Child:
        environment = {"SLUICE_HOME": str(self.home.folder), "SLUICE_MODEL_FILE": str(self._model)}
        environment |= more or {}
        return self._children.start("sluice_recommender", "profiles", environment=environment, **how)

    def send(self, topic: str, key: str, value: bytes | None) -> None:
        self.log.append(topic, [NewRecord(key.encode(), value)])

    def stream(self, count: int) -> None:
        """Append some of everything: clicks, repeats, answers, forgets, poison, items, users, tombstones."""
        for number in itertools.islice(self._numbers, count):
            user, item = f"u{self._chance.randrange(self.users)}", f"i{self._chance.randrange(self.items)}"
            kind = self._chance.randrange(12)
            if kind < 5:
                named = f',"event_id":"e{self._chance.randrange(number + 1)}"' if kind < 3 else ""
                named += f',"request_id":"r{number - 1}"' if kind == 1 else ""
                self.send(
                    self.topics.interactions,
                    user,
                    f'{{"user_id":"{user}","item_id":"{item}"{named}}}'.encode(),
                )
            elif kind < 8:
                given = Answer(
                    request_id=f"r{number}",
                    user_id=user,
                    model=KEY,
                    snapshot=self._chance.choice(["s1", "s2", "s0"]),
                    items=(item, "i0", "i1"),
                    ts=int(time.time() * 1e3),
                )
                self.send(self.topics.answers, user, encode(given))
            elif kind == 8:
                topic = self._chance.choice(self.topics[:4])
                self.send(topic, user, b"\xff poison %d" % number)
            elif kind == 9 and number % self.forgets_one_in:
                continue
            elif kind == 9:
                self.send(
                    self.topics.interactions, user, f'{{"user_id":"{user}","control":"forget"}}'.encode()
                )
            elif kind == 10:
                value = None if number % 3 == 0 else f'{{"item_id":"{item}"}}'.encode()
                self.send(self.topics.items, item, value)
            else:
                value = (
                    None if number % 3 == 0 else f'{{"user_id":"{user}","features":["f:{number}"]}}'.encode()
                )
                self.send(self.topics.users, user, value)

    def applied(self) -> bool:
        """Return whether the process has committed everything there is."""
        committed = self.log.committed(profiles_group(self.source))
        ends = {part: end for topic in self.topics[:4] for part, end in self.log.end_offsets(topic).items()}
        return all(committed.get(part, 0) == end for part, end in ends.items())
