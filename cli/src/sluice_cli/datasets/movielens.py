"""MovieLens: ``ml-latest-small`` (CSV, half stars) and ``ml-100k`` (tab and bar separated, ISO-8859-1).

A rating of at least ``min_rating`` becomes one interaction; the others are checked and left out. Genres
and the year in the title become features. Event ids count the lines of the ratings file from 1.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from sluice.records import Interaction, Item
from sluice_cli.datasets.dataset import Dataset, DatasetError, Options, in_time_order
from sluice_cli.datasets.files import expect, read_lines

NO_GENRES: Final = "(no genres listed)"
GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The nineteen flags at the end of each line of ml-100k's ``u.item``, in their order."""

_YEAR: Final = re.compile(r"\((\d{4})\)\s*$")
_LAST_SECOND: Final = 1 << 43


class Rows(Struct, frozen=True):
    """How many ratings and movies a set must hold; ``None`` = any number but 0."""

    ratings: int | None
    movies: int | None


LATEST_SMALL_ROWS: Final = Rows(ratings=100_836, movies=9_742)
ML_100K_ROWS: Final = Rows(ratings=100_000, movies=1_682)


def latest_small(folder: Path, options: Options, rows: Rows = LATEST_SMALL_ROWS) -> Dataset:
    """Read ``ratings.csv`` and ``movies.csv``."""
    ratings = read_lines(folder, "ratings.csv")
    movies = read_lines(folder, "movies.csv")
    _check_header(folder / "ratings.csv", ratings, "userId,movieId,rating,timestamp")
    _check_header(folder / "movies.csv", movies, "movieId,title,genres")
    expect(len(ratings) - 1, rows.ratings, f"{folder / 'ratings.csv'}, ratings")
    expect(len(movies) - 1, rows.movies, f"{folder / 'movies.csv'}, movies")
    return _dataset(
        "ml-latest-small",
        _interactions(folder / "ratings.csv", ratings[1:], ",", 2, "ml-latest-small", options),
        [_item(folder / "movies.csv", number, line, _csv_movie) for number, line in enumerate(movies[1:], 2)],
        options,
    )


def ml_100k(folder: Path, options: Options, rows: Rows = ML_100K_ROWS) -> Dataset:
    """Read ``u.data`` and ``u.item``."""
    ratings = read_lines(folder, "u.data")
    movies = read_lines(folder, "u.item", "iso-8859-1")
    expect(len(ratings), rows.ratings, f"{folder / 'u.data'}, ratings")
    expect(len(movies), rows.movies, f"{folder / 'u.item'}, movies")
    return _dataset(
        "ml-100k",
        _interactions(folder / "u.data", ratings, "\t", 1, "ml-100k", options),
        [_item(folder / "u.item", number, line, _bar_movie) for number, line in enumerate(movies, 1)],
        options,
    )


def _dataset(name: str, interactions: list[Interaction], items: list[Item], options: Options) -> Dataset:
    description = f"MovieLens {name.removeprefix('ml-')}: ratings of {options.min_rating:g} and more"
    return Dataset(name, description, in_time_order(interactions)[: options.limit], items)


def _check_header(path: Path, lines: list[str], header: str) -> None:
    if not lines or lines[0] != header:
        raise DatasetError(f"{path} line 1 must be the header {header}; fetch the data set again")


def _interactions(
    path: Path, lines: list[str], separator: str, first_line: int, prefix: str, options: Options
) -> list[Interaction]:
    """Turn rating lines into interactions. One flat loop: this is what a start waits for."""
    kept = []
    least = options.min_rating
    for number, line in enumerate(lines, first_line):
        try:
            user_id, item_id, stars, second = line.split(separator)
            rating, seconds = float(stars), int(second)
        except ValueError as error:
            raise DatasetError(f"{path} line {number} is not a rating ({error}); fetch it again") from error
        if not (
            user_id.isdecimal() and item_id.isdecimal() and 0 < rating <= 5 and 0 <= seconds < _LAST_SECOND
        ):
            raise DatasetError(f"{path} line {number} has an id, rating or time out of range; fetch it again")
        if rating >= least:
            kept.append(
                Interaction(
                    user_id=user_id, item_id=item_id, ts=seconds * 1000, event_id=f"{prefix}-{number}"
                )
            )
    return kept


_Movie = tuple[str, str, list[str]]


def _item(path: Path, number: int, line: str, parse: Callable[[str], _Movie]) -> Item:
    try:
        item_id, title, genres = parse(line)
        if not item_id.isdecimal():
            raise ValueError(f"id {item_id[:40]!r} is not a number")
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{path} line {number} is not a movie ({error}); fetch it again") from error
    year = _YEAR.search(title)
    features = [f"genre:{genre}" for genre in genres] + ([f"year:{year[1]}"] if year else [])
    return Item(item_id=item_id, title=title.strip(), features=tuple(features))


def _csv_movie(line: str) -> _Movie:
    item_id, title, genres = next(csv.reader((line,), strict=True))
    return item_id, title, [] if genres == NO_GENRES else genres.split("|")


def _bar_movie(line: str) -> _Movie:
    item_id, title, _released, _video, _link, *flags = line.split("|")
    genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
    return item_id, title, [genre for genre in genres if genre != "unknown"]
