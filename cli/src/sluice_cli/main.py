"""The ``sluice`` command. Heavy modules are imported by the commands that need them, so that parsing is quick."""

from typing import Annotated

import typer

from sluice import __version__
from sluice_cli.commands import (
    backends,
    datasets,
    experiment,
    keys,
    offline,
    prepare,
    recommend,
    rollout,
    serve,
    snapshots,
    top,
)
from sluice_cli.commands.shell import Sluice

app = typer.Typer(
    name="sluice",
    cls=Sluice,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sluice {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Sluice: real-time recommendations, every new snapshot let through its gates.

    \b
    Start here:
      sluice demo                      the platform on a real event stream, live
      sluice up -f model.yaml          the platform for your own model
      sluice recommend USER            ask the running API
      sluice top                       what the running platform does, live
      sluice rollout get               where the rollout stands, and what its gates wait for

    \b
    Exit codes: 0 done, 1 the run failed, 2 wrong input, 130 interrupted.
    Shell completion: sluice --install-completion
    """


app.command("demo")(serve.demo)
app.command("up")(serve.up)
app.command("prepare")(prepare.prepare)
app.command("train")(offline.train)
app.command("evaluate")(offline.evaluate)
app.command("recommend")(recommend.recommend)
app.command("top")(top.top)
app.command("experiment")(experiment.experiment)
app.add_typer(snapshots.app)
app.add_typer(datasets.app)
app.add_typer(rollout.app)
app.add_typer(keys.app)
app.add_typer(backends.app)


def main() -> None:
    """Run the command line."""
    app(prog_name="sluice")


if __name__ == "__main__":
    main()
