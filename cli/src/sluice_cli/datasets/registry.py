"""The data sets by name: where each lies, how it is read, and what happens if it is not there."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from sluice_cli.datasets import movielens, otto, synthetic, yoochoose
from sluice_cli.datasets.archive import LATEST_SMALL, ML_100K, Archive, Download, download, install
from sluice_cli.datasets.dataset import Dataset, DatasetError, Options
from sluice_cli.datasets.events import load_events
from sluice_cli.datasets.files import locate

FILE_PREFIX: Final = "file:"


class Source(Struct, frozen=True, kw_only=True):
    """A data set Sluice knows: the ``files`` it needs, and its ``archive`` or else its ``origin``."""

    name: str
    description: str
    files: tuple[str, ...]
    read: Callable[[Path, Options], Dataset]
    origin: str
    archive: Archive | None = None


def _synthetic(_folder: Path, options: Options) -> Dataset:
    shape = synthetic.Shape()
    return synthetic.generate(shape if options.limit is None else synthetic.Shape(events=options.limit))


SOURCES: Final = {
    source.name: source
    for source in (
        Source(
            name="ml-latest-small",
            description="MovieLens: 100,836 ratings of 9,742 films by 610 users, titles, genres",
            files=("ratings.csv", "movies.csv"),
            read=movielens.latest_small,
            origin="GroupLens' public archive",
            archive=LATEST_SMALL,
        ),
        Source(
            name="ml-100k",
            description="MovieLens 100K: 100,000 ratings of 1,682 films by 943 users, titles, genres",
            files=("u.data", "u.item"),
            read=movielens.ml_100k,
            origin="GroupLens' public archive",
            archive=ML_100K,
        ),
        Source(
            name=yoochoose.NAME,
            description="YOOCHOOSE shop clicks: 3,370,578 clicks in 816,019 sessions on 25,958 items",
            files=tuple(f"period_{period}.txt" for period in range(len(yoochoose.CLICKS))),
            read=yoochoose.clicks,
            origin="data/YOOCHOOSE of the repository DoubleMuL/ADER on GitHub",
        ),
        Source(
            name=otto.NAME,
            description="OTTO shop sessions: 862 clicks, carts and orders in 20 sessions",
            files=("train.jsonl",),
            read=otto.sessions,
            origin="test/resources of the repository otto-de/recsys-dataset on GitHub",
        ),
        Source(
            name=synthetic.NAME,
            description="made here from a seed: 50,000 events of 600 users whose tastes drift",
            files=(),
            read=_synthetic,
            origin="this program",
        ),
    )
}


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where data sets lie: ``SLUICE_DATA_DIR``, else ``~/.cache/sluice/data``."""
    return Path(environ.get("SLUICE_DATA_DIR") or "~/.cache/sluice/data").expanduser()


def source_of(name: str) -> Source:
    """Return the known set ``name`` or raise, naming those there are."""
    if name not in SOURCES:
        raise DatasetError(
            f"dataset {name!r} is unknown; choose one of {', '.join(SOURCES)} or {FILE_PREFIX}PATH"
        )
    return SOURCES[name]


def find(name: str, directory: Path) -> Path | None:
    """Return the folder (or the file of ``file:PATH``) that holds ``name`` in full; ``None`` if it is not there."""
    if name.startswith(FILE_PREFIX):
        path = Path(name.removeprefix(FILE_PREFIX)).expanduser()
        return path if path.is_file() else None
    files = source_of(name).files
    folder = directory / name
    return folder if files and all(locate(folder, file) for file in files) else None


def load(name: str, directory: Path, options: Options | None = None) -> Dataset:
    """Read the data set ``name`` from ``directory``; ``file:PATH`` reads a user's own events.

    Raises :class:`DatasetError` if it is unknown, not there, damaged, or has another number of rows than it should.
    """
    options = options or Options()
    if name.startswith(FILE_PREFIX):
        return load_events(Path(name.removeprefix(FILE_PREFIX)).expanduser(), options)
    source = source_of(name)
    if source.files and find(name, directory) is None:
        raise DatasetError(
            f"{directory / name} does not hold {', '.join(source.files[:2])}; {_how_to_get(source)}"
        )
    return source.read(directory / name, options)


def _how_to_get(source: Source) -> str:
    if source.archive is not None:
        return f"run: sluice datasets fetch {source.name}"
    return f"put the files of {source.origin} there"


def fetch(name: str, directory: Path, get: Download = download) -> Path:
    """Return the folder of ``name``, downloading it first if it is not there.

    Raises :class:`DatasetError` if it cannot be had, is not what it should be, or has no archive to download.
    """
    source = source_of(name)
    if (present := find(name, directory)) is not None:
        return present
    if source.archive is None:
        raise DatasetError(
            f"{name} cannot be fetched; it comes from {source.origin}"
            + (f", put its files into {directory / name}" if source.files else " and needs no files")
        )
    return install(source.archive, directory, lambda folder: source.read(folder, Options()), get)


def resolve(
    name: str, directory: Path, options: Options | None = None, get: Download = download
) -> tuple[Dataset, str]:
    """Return the data set and one sentence that says which it is: there, fetched, or synthetic instead.

    A set that is there but damaged raises :class:`DatasetError`, as does an unusable ``file:PATH``.
    """
    if name.startswith(FILE_PREFIX) or name == synthetic.NAME:
        dataset = load(name, directory, options)
        return dataset, f"Streaming {_size(dataset)}."
    if find(name, directory) is not None:
        dataset = load(name, directory, options)
        return dataset, f"Streaming {_size(dataset)}, from {directory / name}."
    try:
        fetch(name, directory, get)
    except DatasetError as error:
        dataset = load(synthetic.NAME, directory, options)
        return dataset, f"Streaming {_size(dataset)}, because {name} is not there: {error}."
    dataset = load(name, directory, options)
    return dataset, f"Streaming {_size(dataset)}, fetched into {directory / name}."


def _size(dataset: Dataset) -> str:
    size = f"{dataset.description} ({len(dataset.interactions):,} interactions, {len(dataset.items):,} items"
    if dataset.bad_rows:
        size += f"; {len(dataset.bad_rows):,} rows refused, the first at {dataset.bad_rows[0]}"
    return size + ")"
