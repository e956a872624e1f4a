"""``sluice demo`` and ``sluice up``: the whole platform on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from sluice_cli.commands.local import DEFAULT_HOME, HomeOption, dataset_names
from sluice_cli.commands.shell import interrupt_on_sigterm, quiet_logs
from sluice_cli.demo.options import DEFAULT_DATASET, DEFAULT_PORT, DemoAlgorithm, DemoOptions, check

PortOption = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port of the API; 0 = any free one.")
]


def demo(
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            help="ml-latest-small, ml-100k, ader-yoochoose, otto-20 or synthetic.",
            autocompletion=dataset_names,
        ),
    ] = DEFAULT_DATASET,
    events: Annotated[
        Path | None,
        typer.Option(
            "--events", help="Your own events instead: JSON lines, CSV with header, user:item lines."
        ),
    ] = None,
    algorithm: Annotated[DemoAlgorithm, typer.Option("--algorithm", help="What learns.")] = DemoAlgorithm.GMF,
    speed: Annotated[
        float | None, typer.Option("--speed", min=0.1, help="Events per second; as fast as taken by default.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Use the oldest so many events only.")
    ] = None,
    no_sabotage: Annotated[
        bool, typer.Option("--no-sabotage", help="Let no deliberately bad candidate through.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the report instead of serving on.")
    ] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the figures as JSON.")] = None,
    page: Annotated[Path, typer.Option("--page", help="Write the page with plots.")] = Path(
        "demo-report.html"
    ),
    home: Annotated[
        Path | None, typer.Option("--home", help="Keep all state here; a temporary folder by default.")
    ] = None,
    port: PortOption = DEFAULT_PORT,
    model: Annotated[
        Path | None, typer.Option("-f", "--file", help="RecommenderModel file instead of the demo's own.")
    ] = None,
) -> None:
    """Run the platform on a real event stream and show it working.

    Takes the first 70 % as history, streams the rest through the API, and shows quality, snapshots and gated
    rollouts live. Ends with a table and a page with plots, then serves until Ctrl-C.

    \b
    Examples:
      sluice demo
      sluice demo --once --report report.json
      sluice demo --dataset ml-100k --algorithm CoVisitation
      sluice demo --events clicks.csv --speed 200
    """
    options = check(
        DemoOptions(
            dataset=dataset,
            events=events,
            algorithm=algorithm.value,
            speed=speed,
            limit=limit,
            sabotage=not no_sabotage,
            once=once,
            report=report,
            page=page,
            home=home,
            port=port,
            model=model,
        )
    )
    from sluice_cli.demo.run import run

    quiet_logs("error")  # the view tells the rest
    interrupt_on_sigterm()
    run(options)


def up(
    file: Annotated[Path, typer.Option("-f", "--file", help="RecommenderModel file to serve.")],
    home: HomeOption = DEFAULT_HOME,
    port: PortOption = DEFAULT_PORT,
) -> None:
    """Run the whole platform for a model until Ctrl-C, without Kubernetes, Kafka, MongoDB or Redis.

    \b
    Examples:
      sluice up -f manifests/samples/demo.yaml
      sluice up -f model.yaml --home .sluice --port 9000
    """
    from sluice_cli import platform

    quiet_logs()
    interrupt_on_sigterm()
    platform.up(file, home, port)
