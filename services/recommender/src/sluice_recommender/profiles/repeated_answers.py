"""Which answers are repeats: an API that was not told whether the log took a batch of answers appends it again.

An answer repeats another if the same was given to the same user under the same request id, and the log took both in
one partition, at most :data:`~sluice_recommender.profiles.attribution.REPEAT_MS` apart; whether the other one was
a repeat itself does not matter. So whoever begins to read that much earlier knows what any other reader knows. What
is remembered is a hash, which outlives the forgetting of a user.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from sqlite3 import Connection
from typing import Final

import msgspec

from sluice_recommender.profiles.attribution import Given, keep_ids_from, repeats

_KNOWN: Final = "SELECT id, logged FROM given_ids WHERE part = ? AND id IN (SELECT value FROM json_each(?))"
_NOTE: Final = "INSERT INTO given_ids VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET logged = excluded.logged"


def repeats_among(connection: Connection, part: int, given: Sequence[Given]) -> list[int]:
    """Remember ``given``, which are in offset order, and return the offsets of those that are repeats."""
    ids = [_id(each) for each in given]
    logged = dict(connection.execute(_KNOWN, (part, json.dumps(ids))).fetchall())
    offsets = []
    for each, answer in zip(ids, given, strict=True):
        if each in logged and repeats(logged[each], answer.logged):
            offsets.append(answer.offset)
        logged[each] = answer.logged
    connection.executemany(_NOTE, [(part, each, logged[each]) for each in dict.fromkeys(ids)])
    return offsets


def forget_ids_before(connection: Connection, part: int, watermark: int) -> None:
    """Forget what no answer behind ``watermark`` can repeat."""
    connection.execute(
        "DELETE FROM given_ids WHERE part = ? AND logged < ?", (part, keep_ids_from(watermark))
    )


def _id(answer: Given) -> int:
    """Return a hash of what an answer says, but for when; a client may use a request id for several answers."""
    said = (
        answer.request_id,
        answer.user_id,
        answer.model,
        answer.snapshot,
        answer.items,
        answer.experiment,
    )
    return int.from_bytes(
        blake2b(msgspec.msgpack.encode(said), digest_size=8).digest(), "little", signed=True
    )
