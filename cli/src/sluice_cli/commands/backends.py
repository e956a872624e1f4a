"""``sluice backends``: real Kafka, MongoDB protocol and Redis on this machine."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.shell import interrupt_on_sigterm
from sluice_cli.ports import HOST

if TYPE_CHECKING:
    from sluice_cli.backends import Backends

app = typer.Typer(
    name="backends", help="Run Kafka, MongoDB's protocol and Redis here.", invoke_without_command=True
)


@app.callback()
def backends(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Keep their data here; a temporary folder by default.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Listen on this address of this machine, and tell it to clients.")
    ] = HOST,
) -> None:
    """Run Kafka, a server of MongoDB's protocol and Redis until Ctrl-C, and print the lines to export.

    Needs Java 17, Maven and redis-server; what they need is fetched once. With --folder data and ports are
    the same the next time. They ask for no login: give --host only an address that nobody else reaches.

    \b
    Examples:
      sluice backends
      sluice backends --folder .backends
      sluice backends --host 10.99.0.1
      sluice backends fetch
    """
    if context.invoked_subcommand is not None:
        return
    from sluice_cli.backends import Backends, running

    interrupt_on_sigterm()
    try:
        with running.registered(), _folder(folder) as place, Backends(place, host=host) as started:
            _tell(started)
            signal.pause()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)


@app.command()
def fetch(
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Also Toxiproxy, which fault tests need; needs Go.")
    ] = False,
) -> None:
    """Download and build what the backends need, and start nothing.

    \b
    Examples:
      sluice backends fetch
      sluice backends fetch --all
    """
    from sluice_cli.backends import Backends, Toxiproxy

    place = Path()  # nothing is written there
    servers = [*Backends(place).all, *([Toxiproxy(place)] if all_of_them else [])]
    for server in servers:
        typer.echo(f"{server.name}: {server.fetch()}")


@app.command()
def down() -> None:
    """End every ``sluice backends`` that runs on this machine.

    \b
    Examples:
      sluice backends down
      SLUICE_CACHE=cache sluice backends down
    """
    from sluice_cli.backends import running

    typer.echo(f"ended {running.end_all()}")


def _tell(started: "Backends") -> None:
    typer.echo(f"export SLUICE_KAFKA={started.kafka.bootstrap}")
    typer.echo(f"export SLUICE_MONGO_URL={started.mongo.url}")
    typer.echo(f"export SLUICE_REDIS_URL={started.redis.url}")
    typer.echo("Ctrl-C stops them.", err=True)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sluice-backends-") as temporary:
        yield Path(temporary)
