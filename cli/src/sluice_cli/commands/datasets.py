"""``sluice datasets``: what can be streamed, and where it lies."""

from pathlib import Path
from typing import Annotated

import typer

from sluice_cli.commands.local import JsonOption, dataset_names
from sluice_cli.commands.shell import show_json, show_table

app = typer.Typer(
    name="datasets", help="List and fetch the event streams that Sluice knows.", no_args_is_help=True
)
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory", help="Where data sets lie.  [default: SLUICE_DATA_DIR or ~/.cache/sluice/data]"
    ),
]


@app.command("list")
def list_datasets(directory: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """List the data sets and where each is.

    \b
    Examples:
      sluice datasets list
      sluice datasets list --json
    """
    from sluice_cli import datasets

    folder = directory or datasets.default_directory()
    rows = []
    for source in datasets.SOURCES.values():
        found = datasets.find(source.name, folder)
        place = str(found) if found else "made when asked for" if not source.files else "not here"
        fetchable = source.archive is not None
        rows.append(
            {"name": source.name, "where": place, "fetchable": fetchable, "description": source.description}
        )
    if as_json:
        show_json(rows)
        return
    columns = ("name", "where", "description")
    show_table(columns, [[str(row[column]) for column in columns] for row in rows])


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="ml-latest-small or ml-100k.", autocompletion=dataset_names)],
    directory: DirectoryOption = None,
) -> None:
    """Download a data set, check its rows, and print where it lies.

    \b
    Examples:
      sluice datasets fetch ml-latest-small
      sluice datasets fetch ml-100k --directory data
    """
    from sluice_cli import datasets

    typer.echo(datasets.fetch(name, directory or datasets.default_directory()))
