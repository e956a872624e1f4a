"""A user and an item of the stream to try the API with, and the commands that do."""

import shlex
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from sluice_cli.demo.record import Record


class Example(NamedTuple):
    """Ids that the running platform knows. Without ``item_id`` the commands ask for popular items."""

    user_id: str
    item_id: str | None = None


def example_of(record: Record) -> Example:
    """Return the newest click's user; the item's id is not recorded."""
    return Example(record.clicks[-1].user_id if record.clicks else "1")


def curl_lines(api: str, example: Example) -> list[str]:
    """Return three commands: recommendations, an interaction, similar (or popular) items."""
    user = quote(example.user_id, safe="")
    document = {"user_id": example.user_id, "item_id": example.item_id or "1"}
    similar = f"/v1/items/{quote(example.item_id, safe='')}/similar" if example.item_id else "/v1/popular"
    return [
        f"curl -s {shlex.quote(f'{api}/v1/recommendations/{user}?n=5')}",
        f"curl -s -H 'content-type: application/json' -d {shlex.quote(msgspec.json.encode(document).decode())}"
        f" {shlex.quote(f'{api}/v1/interactions')}",
        f"curl -s {shlex.quote(f'{api}{similar}?n=5')}",
    ]
