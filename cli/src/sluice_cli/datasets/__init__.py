"""Event streams the command can replay: known public sets, a synthetic one, and a user's own file."""

from sluice_cli.datasets.dataset import BadRow, Dataset, DatasetError, Options
from sluice_cli.datasets.events import load_events
from sluice_cli.datasets.registry import (
    SOURCES,
    Source,
    default_directory,
    fetch,
    find,
    load,
    resolve,
)

__all__ = [
    "SOURCES",
    "BadRow",
    "Dataset",
    "DatasetError",
    "Options",
    "Source",
    "default_directory",
    "fetch",
    "find",
    "load",
    "load_events",
    "resolve",
]
