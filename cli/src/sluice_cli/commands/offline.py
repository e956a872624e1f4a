"""``sluice train`` and ``sluice evaluate``: a model on recorded events, without running processes."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.local import JsonOption, dataset_names
from sluice_cli.commands.shell import (
    Failed,
    InputError,
    console,
    quiet_logs,
    readable_bytes,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from sluice_cli.commands.prequential import Evaluation
    from sluice_cli.datasets import Dataset

FileArgument = Annotated[Path, typer.Option("-f", "--file", help="RecommenderModel file.")]
EventsOption = Annotated[
    Path | None,
    typer.Option("--events", help="File of events: JSON lines, CSV with header, user:item lines."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="A data set; see sluice datasets list.", autocompletion=dataset_names),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Use the oldest so many events only.")
]
OfflineHome = Annotated[
    Path | None, typer.Option("--home", help="Keep all state here; a temporary folder by default.")
]


def train(
    file: FileArgument,
    events: EventsOption = None,
    dataset: DatasetOption = None,
    limit: LimitOption = None,
    home: OfflineHome = None,
    as_json: JsonOption = False,
) -> None:
    """Learn recorded events, cut one snapshot and print it.

    With --home the events join that home's log and the trainer goes on where it stopped; a home in use by a
    running platform must be left alone.

    \b
    Examples:
      sluice train -f manifests/samples/demo.yaml --dataset ml-latest-small --home .sluice
      sluice train -f model.yaml --events clicks.csv --json
    """
    from sluice import models
    from sluice_cli.commands.offline_loop import OfflineLoop

    model, data = models.load(file), _load(events, dataset, limit)
    quiet_logs()
    with _folder(home) as folder, OfflineLoop(model, folder) as loop:
        loop.start(data.interactions, data.items)
        entry = loop.cut()
    if entry is None:
        raise Failed(f"nothing new to cut: {folder} has learned these events before; give new ones")
    if as_json:
        show_json(entry)
        return
    typer.echo(f"{entry.id}: {entry.interactions:,} interactions, {readable_bytes(entry.bytes)}")
    typer.echo(f"kept in {folder}" if home else "not kept; give --home to keep it")


def evaluate(
    file: FileArgument,
    events: EventsOption = None,
    dataset: DatasetOption = None,
    limit: LimitOption = None,
    split: Annotated[
        float, typer.Option("--split", help="Share of the events that is history, in (0, 1).")
    ] = 0.7,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Cut and serve a snapshot every so many events.")
    ] = 3_000,
    home: OfflineHome = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model prequentially against popularity: each event is asked for before it is learned.

    Fits on the first part, then streams the rest; every --every events a snapshot is cut and served from
    then on. An event counts if the user is known and the item known to the served snapshot and new to the user.

    \b
    Examples:
      sluice evaluate -f manifests/samples/demo.yaml --dataset ml-latest-small
      sluice evaluate -f model.yaml --events clicks.csv --split 0.5 --every 1000 --json
    """
    from sluice import models
    from sluice_cli.commands.prequential import run

    if not 0 < split < 1:
        raise InputError(f"--split {split} must lie between 0 and 1; 0.7 takes 70 % as history")
    model, data = models.load(file), _load(events, dataset, limit)
    quiet_logs()
    with _folder(home) as folder:
        found = _watched(lambda progress: run(model, data, folder, split, every, progress))
    if as_json:
        show_json(found)
    else:
        _show(found)


def _watched(work: Callable[[Callable[[int, int], None]], "Evaluation"]) -> "Evaluation":
    """Do ``work`` with its progress shown on stderr, if that is a terminal."""
    with console(err=True).status("fitting the history") as status:
        return work(lambda done, of: status.update(f"{done:,} of {of:,} events streamed"))


def _show(found: "Evaluation") -> None:
    from sluice_cli.demo.figures import share, times

    typer.echo(
        f"{found.algorithm} on {found.dataset}: {found.history:,} events of history,"
        f" {found.streamed:,} streamed in {found.seconds:.1f} s, {found.evaluated:,} evaluated,"
        f" {found.snapshots} snapshots served"
    )
    rows = [
        [metric, share(value), share(found.popularity[metric]), times(found.ratio(metric))]
        for metric, value in found.served.items()
    ]
    columns = ("metric", "served", "popularity", "ratio")
    show_table(columns, rows, right=columns[1:])


def _load(events: Path | None, dataset: str | None, limit: int | None) -> "Dataset":
    """Return the data; rows that were refused are told on stderr, they are not learned."""
    data = _read(events, dataset, limit)
    if data.bad_rows:
        typer.echo(f"{len(data.bad_rows)} rows refused, the first at {data.bad_rows[0]}", err=True)
    return data


def _read(events: Path | None, dataset: str | None, limit: int | None) -> "Dataset":
    from sluice_cli import datasets

    if (events is None) == (dataset is None):
        raise InputError("give either --events FILE or --dataset NAME")
    name = dataset if events is None else f"file:{events}"
    return datasets.load(str(name), datasets.default_directory(), datasets.Options(limit=limit))


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        yield Path(folder)
