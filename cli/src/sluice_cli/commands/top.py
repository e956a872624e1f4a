"""``sluice top``: what the running platform does, live."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.local import DEFAULT_HOME, HomeOption, JsonOption
from sluice_cli.commands.shell import Failed, InputError, console, show_json

if TYPE_CHECKING:
    from sluice_cli.top.looking import Look
    from sluice_cli.top.overview import Overview

BETWEEN_S = 1.0
PLAIN_WIDTH, PLAIN_HEIGHT = 100, 1_000


def top(
    home: HomeOption = DEFAULT_HOME,
    url: Annotated[
        list[str] | None,
        typer.Option("--url", help="A process's address instead of --home; once per process."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch the running platform: processes, requests, lag, learning, snapshots, rollout, gates, decisions.

    Rates are over the last five seconds, with --once and --json over one. Keys: 1 all, 2 traffic, 3 rollout, q quit.

    \b
    Examples:
      sluice top
      sluice top --home .sluice --once
      sluice top --json | jq .requests.p99_ms
      sluice top --url http://recommender:8080 --url http://faiss:8081
    """
    if as_json:
        show_json(_twice(home, url))
    elif once or not sys.stdout.isatty() or not sys.stdin.isatty():
        from sluice_cli.demo.sections import Frame
        from sluice_cli.top.frame import compose, plain

        typer.echo(plain(compose(_twice(home, url), Frame(PLAIN_WIDTH, 0.0), PLAIN_HEIGHT, keys="")))
    else:
        from sluice_cli.top.screen import watch

        watch(lambda: _look(home, url), console())


def _twice(home: Path, urls: list[str] | None) -> "Overview":
    """Return an overview with rates over a second."""
    from sluice_cli.top.reckoning import overview

    before = _look(home, urls)
    time.sleep(BETWEEN_S)
    return overview(before, _look(home, urls))


def _look(home: Path, urls: list[str] | None) -> "Look":
    from sluice_cli.top import looking

    for url in urls or ():
        if not url.startswith(("http://", "https://")):
            raise InputError(f"--url {url} is no address; give one such as http://127.0.0.1:8080")
    platform = looking.platform_at([url.rstrip("/") for url in urls]) if urls else looking.platform_of(home)
    if platform is None:
        raise Failed(
            f"no platform runs in {home}; start one with sluice up --home {home}, or give --home or --url"
        )
    seen = looking.look(platform)
    if urls and not any(each.metrics for each in seen.processes):
        raise Failed(f"nothing answers at {', '.join(urls)}; check the addresses")
    return seen
