"""Where the time of one request goes: its stages one by one, over one connection while nothing else runs."""

import re
import time
from collections.abc import Callable, Sequence
from statistics import median

import load
import msgspec
import urllib3

from sluice import models
from sluice.backing import Backing
from sluice.overlay import Overlay
from sluice_cli.platform import Platform
from sluice_recommender.api.answers import RecommendedItem
from sluice_recommender.api.asking import Ask, query_of, search_body
from sluice_recommender.api.shelf import Metadata
from sluice_recommender.api.wire import Wire

ASKED = 300
_SUM = re.compile(r"^sluice_search_seconds_sum(?:{[^}]*})? (\S+)$", re.MULTILINE)
_COUNT = re.compile(r"^sluice_search_seconds_count(?:{[^}]*})? (\S+)$", re.MULTILINE)


def stages(platform: Platform, pod: str, users: Sequence[str]) -> list[tuple[str, str]]:
    """Return (stage, milliseconds) rows; ``pod`` is the stable pod's address."""
    backing = Backing(msgspec.structs.replace(platform.connected, home=str(platform.home)))
    model, users = models.load(platform.model_file), users[:ASKED]
    source = model.spec.source.name
    profiles, metadata = backing.profiles(source), Metadata(backing.items(source), Overlay())
    routing = backing.routing(model.key).read()
    assert routing is not None
    snapshot = routing.stable
    queries = [query_of(Ask(user_id=user, n=10), profiles.get(user), exclude_seen=True) for user in users]
    bodies = [
        msgspec.json.encode({"snapshot": snapshot, **search_body(query, 10, None)}) for query in queries
    ]
    wire = Wire(pod, 1)
    items = msgspec.json.decode(wire.search(bodies[0], time.monotonic() + 1).body)["items"]
    found = [(each["item_id"], each["score"]) for each in items]

    profile = timed(lambda number: profiles.get(users[number]))
    encoding = timed(
        lambda number: msgspec.json.encode({"snapshot": snapshot, **search_body(queries[number], 10, None)})
    )
    before = _searches(pod)
    hop = timed(lambda number: wire.search(bodies[number], time.monotonic() + 1))
    after = _searches(pod)
    search = 1e3 * (after[0] - before[0]) / (after[1] - before[1])
    answer = timed(lambda _: _answered(metadata, found))
    targets = [f"/v1/recommendations/{user}?n=10" for user in users]
    whole = load.in_own_process(platform.port, 1, 3.0, targets).p50_ms
    wire.close()
    backing.close()
    rest = whole - profile - encoding - hop - answer
    rows = {
        "profile read": profile,
        "query as JSON": encoding,
        "search in the pod": search,
        "HTTP hop to the pod without the search": hop - search,
        "metadata and answer as JSON": answer,
        "client, HTTP server, Falcon, the rest": rest,
        "whole request": whole,
    }
    return [(stage, f"{milliseconds:.3f}") for stage, milliseconds in rows.items()]


def timed(work: Callable[[int], object]) -> float:
    """Return the median milliseconds of one call."""
    taken = []
    for number in range(ASKED):
        began = time.perf_counter()
        work(number)
        taken.append(1e3 * (time.perf_counter() - began))
    return median(taken)


def _answered(metadata: Metadata, found: list[tuple[str, float]]) -> bytes:
    known = metadata.of([item_id for item_id, _ in found])
    return msgspec.json.encode([RecommendedItem(item_id, score, known[item_id]) for item_id, score in found])


def _searches(pod: str) -> tuple[float, float]:
    text = urllib3.request("GET", f"{pod}/metrics").data.decode()
    return sum(map(float, _SUM.findall(text))), sum(map(float, _COUNT.findall(text)))
