"""``sluice demo`` and ``sluice up``: the whole platform on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from sluice_cli.commands.connecting import (
    DEFAULT_DATABASE,
    KafkaOption,
    KafkaPropertiesOption,
    MongoDatabaseOption,
    MongoFileOption,
    MongoOption,
    RedisFileOption,
    RedisOption,
    StoreOption,
    connections,
)
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
    real: Annotated[
        bool,
        typer.Option("--real", help="Start Kafka, MongoDB and Redis for the run; needs Java, Maven, Redis."),
    ] = False,
    kafka: KafkaOption = None,
    kafka_properties: KafkaPropertiesOption = None,
    mongo: MongoOption = None,
    mongo_file: MongoFileOption = None,
    redis: RedisOption = None,
    redis_file: RedisFileOption = None,
) -> None:
    """Run the platform on a real event stream and show it working.

    Takes the first 70 % as history, streams the rest through the API, and shows quality, snapshots and gated
    rollouts live. Ends with a table and a page with plots, then serves until Ctrl-C.

    On servers that you name, a run uses topics, a database and keys of its own, which it drops at its end.

    \b
    Examples:
      sluice demo
      sluice demo --real
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
            real=real,
            connected=connections(
                kafka=kafka,
                kafka_properties=kafka_properties,
                mongo=mongo,
                mongo_file=mongo_file,
                redis=redis,
                redis_file=redis_file,
            ),
        )
    )
    from sluice_cli.demo.run import run

    quiet_logs("error")  # the view tells the rest
    interrupt_on_sigterm()
    run(options)


def up(
    file: Annotated[
        list[Path],
        typer.Option("-f", "--file", help="RecommenderModel file to serve; repeat for several models."),
    ],
    home: HomeOption = DEFAULT_HOME,
    port: PortOption = DEFAULT_PORT,
    kafka: KafkaOption = None,
    kafka_properties: KafkaPropertiesOption = None,
    mongo: MongoOption = None,
    mongo_file: MongoFileOption = None,
    mongo_database: MongoDatabaseOption = DEFAULT_DATABASE,
    redis: RedisOption = None,
    redis_file: RedisFileOption = None,
    store: StoreOption = None,
    experiment: Annotated[
        str,
        typer.Option(
            "--experiment",
            envvar="SLUICE_EXPERIMENT",
            help="NAME@DATE: MODEL=PERCENT, MODEL=PERCENT deals users of requests that name no model to these.",
        ),
    ] = "",
) -> None:
    """Run the whole platform for a model, or several over one source, until Ctrl-C.

    It needs neither Kubernetes nor Kafka, MongoDB or Redis; those that are named are used. A home remembers
    them: the next start and the other commands with --home need none of the options.

    \b
    Examples:
      sluice up -f manifests/samples/demo.yaml
      sluice up -f home.yaml -f home-als.yaml --home .sluice --port 9000
      sluice up -f home.yaml -f home-als.yaml --experiment "als@2026-11-21: home=50, home-als=50"
      sluice up -f model.yaml --kafka 127.0.0.1:9092 --mongo mongodb://127.0.0.1 --redis redis://127.0.0.1
    """
    wished = connections(
        kafka=kafka,
        kafka_properties=kafka_properties,
        mongo=mongo,
        mongo_file=mongo_file,
        mongo_database=mongo_database,
        redis=redis,
        redis_file=redis_file,
        store=store,
    )
    from sluice_cli import platform

    quiet_logs()
    interrupt_on_sigterm()
    platform.up(file, home, port, wished, experiment)
