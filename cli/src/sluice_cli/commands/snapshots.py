"""``sluice snapshots``: the catalog of the local platform, and whether its files are sound."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.local import (
    DEFAULT_HOME,
    FileOption,
    HomeOption,
    JsonOption,
    ModelOption,
    model_key,
    open_backing,
    open_catalog,
)
from sluice_cli.commands.shell import FAILED, InputError, readable_bytes, show_json, show_table

if TYPE_CHECKING:
    from sluice.catalog import CatalogEntry
    from sluice.snapshot.store import SnapshotStore

app = typer.Typer(
    name="snapshots", help="List, show and verify the snapshots of a model.", no_args_is_help=True
)


@app.command("list")
def list_snapshots(
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the snapshots in the order in which they were cut.

    \b
    Examples:
      sluice snapshots list
      sluice snapshots list --home .sluice --json
    """
    entries = open_catalog(home, model_key(home, file, model, "model")).entries()
    if as_json:
        show_json(entries)
        return
    columns = ("snapshot", "cut", "interactions", "recall@20", "popular", "size", "state")
    show_table(columns, [_row(entry) for entry in entries], right=columns[2:6])


def _row(entry: "CatalogEntry") -> list[str]:
    from sluice_cli.demo.figures import share

    return [
        entry.id,
        datetime.fromtimestamp(entry.created, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        f"{entry.interactions:,}",
        share(entry.metrics.get("recall@20")),
        share(entry.metrics.get("popular:recall@20")),
        readable_bytes(entry.bytes),
        "released" if entry.released else "kept",
    ]


@app.command("show")
def show(
    snapshot: Annotated[str, typer.Argument(help="Id of a snapshot.")],
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
) -> None:
    """Print a snapshot's manifest as JSON: parts, provenance, metrics, files with checksums.

    \b
    Examples:
      sluice snapshots show gmf-000034006-1f0c9b2a
      sluice snapshots show gmf-000034006-1f0c9b2a | jq .metrics
    """
    key = model_key(home, file, model, "model")
    _known(home, key, snapshot)
    show_json(open_backing(home).snapshots(key).manifest(snapshot))


@app.command("verify")
def verify_snapshots(
    snapshots: Annotated[
        list[str] | None, typer.Argument(help="Ids; all that are kept, if none is given.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
) -> None:
    """Check every file's size and checksum against manifest and catalog; exit 1 if one is wrong.

    \b
    Examples:
      sluice snapshots verify
      sluice snapshots verify gmf-000034006-1f0c9b2a --home .sluice
    """
    key = model_key(home, file, model, "model")
    if snapshots:
        entries = [_known(home, key, each) for each in snapshots]
    else:
        entries = [entry for entry in open_catalog(home, key).entries() if not entry.released]
    store = open_backing(home).snapshots(key)
    sound = [_verify(store, entry) for entry in entries]
    if not snapshots:
        _tell_strays(store, {entry.id for entry in open_catalog(home, key).entries()})
    if not all(sound):
        raise typer.Exit(FAILED)


def _tell_strays(store: "SnapshotStore", entered: set[str]) -> None:
    """Name what lies in the store without a catalog entry: it never serves, and the next trainer deletes it."""
    for name in sorted(store.ids() - entered):
        typer.echo(f"{name}  no catalog entry: it never serves; the trainer deletes it")


def _verify(store: "SnapshotStore", entry: "CatalogEntry") -> bool:
    from sluice.errors import SnapshotRefused

    try:
        made = store.verify(entry.id, entry.digest)
    except SnapshotRefused as error:
        typer.echo(f"{entry.id}  refused: {error}")
        return False
    typer.echo(f"{entry.id}  sound: {len(made.files)} files, {readable_bytes(made.bytes)}")
    return True


def _known(home: Path, key: str, snapshot: str) -> "CatalogEntry":
    entry = open_catalog(home, key).get(snapshot)
    if entry is None:
        raise InputError(f"the catalog of {key} has no snapshot {snapshot}; see sluice snapshots list")
    return entry
