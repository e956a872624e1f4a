"""The known event streams of ``sluice demo`` and the synthetic one: each read whole, every defect named."""

import gzip
import os
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from sluice_cli import datasets
from sluice_cli.datasets import Dataset, DatasetError, Options, movielens, otto, synthetic, yoochoose

ANY_ROWS = movielens.Rows(ratings=None, movies=None)
RATINGS = "userId,movieId,rating,timestamp\n7,10,4.0,300\n7,11,3.5,100\n8,10,5.0,200\n8,12,4.5,200\n"
MOVIES = (
    "movieId,title,genres\n"
    "10,Toy Story (1995),Adventure|Comedy\n"
    '11,"American President, The (1995)",Drama\n'
    "12,Babylon 5,(no genres listed)\n"
)
U_ITEM = (
    "10|Léon (1994)|01-Jan-1994||link|" + "|".join(["0", "1", "0", "0", "0", "0", "1"] + ["0"] * 12) + "\n"
)


def write(folder: Path, name: str, text: str, *, packed: bool = False, encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = text.encode(encoding)
    path = folder / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return [(each.user_id, each.item_id) for each in dataset.interactions]


# MovieLens


@pytest.mark.parametrize("packed", [True, False])
def test_latest_small_keeps_good_ratings_in_time_order(tmp_path: Path, packed: bool) -> None:
    write(tmp_path, "ratings.csv", RATINGS, packed=packed)
    write(tmp_path, "movies.csv", MOVIES.replace("\n", "\r\n"), packed=packed)
    dataset = movielens.latest_small(tmp_path, Options(), ANY_ROWS)
    assert pairs(dataset) == [("8", "10"), ("8", "12"), ("7", "10")]
    assert [each.ts for each in dataset.interactions] == [200_000, 200_000, 300_000]
    assert [each.event_id for each in dataset.interactions] == [
        f"ml-latest-small-{line}" for line in (4, 5, 2)
    ]


def test_latest_small_turns_genres_and_year_into_features(tmp_path: Path) -> None:
    write(tmp_path, "ratings.csv", RATINGS)
    write(tmp_path, "movies.csv", MOVIES)
    items = movielens.latest_small(tmp_path, Options(), ANY_ROWS).items
    assert [item.title for item in items] == [
        "Toy Story (1995)",
        "American President, The (1995)",
        "Babylon 5",
    ]
    assert [item.features for item in items] == [
        ("genre:Adventure", "genre:Comedy", "year:1995"),
        ("genre:Drama", "year:1995"),
        (),
    ]


def test_min_rating_and_limit_narrow_the_stream(tmp_path: Path) -> None:
    write(tmp_path, "ratings.csv", RATINGS)
    write(tmp_path, "movies.csv", MOVIES)
    assert len(movielens.latest_small(tmp_path, Options(min_rating=0.5), ANY_ROWS).interactions) == 4
    assert pairs(movielens.latest_small(tmp_path, Options(limit=1), ANY_ROWS)) == [("8", "10")]


def test_ml_100k_reads_latin_titles_and_genre_flags(tmp_path: Path) -> None:
    write(tmp_path, "u.data", "1\t10\t4\t200\n2\t10\t3\t100\n", packed=True)
    write(tmp_path, "u.item", U_ITEM, encoding="iso-8859-1")
    dataset = movielens.ml_100k(tmp_path, Options(), ANY_ROWS)
    assert pairs(dataset) == [("1", "10")]
    assert dataset.items[0].title == "Léon (1994)"
    assert dataset.items[0].features == ("genre:Action", "genre:Crime", "year:1994")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("7,10,4.0", "line 6 is not a rating"),
        ("7,10,four,300", "line 6 is not a rating"),
        ("7,10,nan,300", "line 6 has an id, rating or time out of range"),
        ("7,10,6,300", "line 6 has an id, rating or time out of range"),
        ("7,10,4,-1", "line 6 has an id, rating or time out of range"),
        ("a/b,10,4,300", "line 6 has an id, rating or time out of range"),
    ],
)
def test_a_bad_rating_is_named_by_line(tmp_path: Path, row: str, wanted: str) -> None:
    write(tmp_path, "ratings.csv", RATINGS + row + "\n")
    write(tmp_path, "movies.csv", MOVIES)
    with pytest.raises(DatasetError, match=wanted):
        movielens.latest_small(tmp_path, Options(), ANY_ROWS)


@pytest.mark.parametrize("row", ["13,No genres", "x,Title (2000),Drama", '13,"open quote (2000),Drama'])
def test_a_bad_movie_is_named_by_line(tmp_path: Path, row: str) -> None:
    write(tmp_path, "ratings.csv", RATINGS)
    write(tmp_path, "movies.csv", MOVIES + row + "\n")
    with pytest.raises(DatasetError, match=r"movies\.csv line 5 is not a movie"):
        movielens.latest_small(tmp_path, Options(), ANY_ROWS)


def test_a_known_set_with_other_counts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ml-latest-small", "ratings.csv", RATINGS)
    write(tmp_path / "ml-latest-small", "movies.csv", MOVIES)
    with pytest.raises(DatasetError, match=r"ratings: 4 found where 100,836 belong"):
        datasets.load("ml-latest-small", tmp_path)


@pytest.mark.parametrize("cut", [10, 60])
def test_a_damaged_gzip_is_one_sentence(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, "ratings.csv", RATINGS, packed=True)
    path.write_bytes(path.read_bytes()[:cut])
    write(tmp_path, "movies.csv", MOVIES)
    with pytest.raises(DatasetError, match="cannot be read"):
        movielens.latest_small(tmp_path, Options(), ANY_ROWS)


@pytest.mark.parametrize("options", [{"min_rating": 0.0}, {"min_rating": float("nan")}, {"limit": 0}])
def test_unusable_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(DatasetError, match="must be"):
        Options(**options)  # type: ignore[arg-type]


# YOOCHOOSE and OTTO


def test_yoochoose_keeps_line_order_and_days(tmp_path: Path) -> None:
    write(tmp_path, "period_0.txt", "5 50\n4 40\n5 51\n", packed=True)
    write(tmp_path, "period_1.txt", "6 50\n", packed=True)
    dataset = yoochoose.clicks(tmp_path, Options(), [3, 1])
    assert pairs(dataset) == [("5", "50"), ("4", "40"), ("5", "51"), ("6", "50")]
    times = [each.ts for each in dataset.interactions]
    assert times == sorted(times, key=lambda ts: ts or 0)
    assert times[3] == yoochoose.FIRST_DAY_MS + yoochoose.DAY_MS
    assert [each.event_id for each in dataset.interactions][2:] == [
        "ader-yoochoose-0-3",
        "ader-yoochoose-1-1",
    ]
    assert [item.item_id for item in dataset.items] == ["50", "40", "51"]


def test_yoochoose_limit_reads_only_the_periods_it_needs(tmp_path: Path) -> None:
    write(tmp_path, "period_0.txt", "5 50\n4 40\n5 51\n")
    assert pairs(yoochoose.clicks(tmp_path, Options(limit=2), [3, 1])) == [("5", "50"), ("4", "40")]


def test_yoochoose_names_the_bad_line(tmp_path: Path) -> None:
    write(tmp_path, "period_0.txt", "5 50\n4,40\n")
    with pytest.raises(DatasetError, match=r"period_0\.txt line 2"):
        yoochoose.clicks(tmp_path, Options(), [2])


def test_otto_merges_sessions_by_time(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.jsonl",
        '{"session":1,"events":[{"aid":9,"ts":100,"type":"clicks"},{"aid":9,"ts":300,"type":"orders"}]}\n'
        '{"session":2,"events":[{"aid":8,"ts":200,"type":"carts"}]}\n',
        packed=True,
    )
    rows = otto.sessions(tmp_path, Options(), 2, 3).interactions
    assert [(each.user_id, each.event, each.ts) for each in rows] == [
        ("1", "view", 100),
        ("2", "cart", 200),
        ("1", "order", 300),
    ]
    assert [each.event_id for each in rows] == ["otto-20-1-1", "otto-20-2-1", "otto-20-1-2"]


@pytest.mark.parametrize("line", ["not json", '{"session":1,"events":[{"aid":9,"ts":-1,"type":"clicks"}]}'])
def test_otto_names_the_bad_line(tmp_path: Path, line: str) -> None:
    write(tmp_path, "train.jsonl", line)
    with pytest.raises(DatasetError, match=r"train\.jsonl line 1"):
        otto.sessions(tmp_path, Options(), None, None)


# Synthetic

SMALL = synthetic.Shape(users=60, items=240, events=2_500)


def test_synthetic_is_the_same_for_a_seed_and_another_for_another() -> None:
    first = synthetic.generate(SMALL)
    assert first == synthetic.generate(SMALL)
    assert pairs(first) != pairs(
        synthetic.generate(synthetic.Shape(users=60, items=240, events=2_500, seed=2))
    )


def test_synthetic_has_the_size_asked_for_and_repeats_no_item() -> None:
    dataset = synthetic.generate(SMALL)
    assert len(dataset.interactions) == 2_500
    assert len(dataset.items) == 240
    assert len(set(pairs(dataset))) == 2_500
    times = [each.ts or 0 for each in dataset.interactions]
    assert times == sorted(times)


def test_synthetic_rewards_knowing_the_user() -> None:
    dataset = synthetic.generate(synthetic.Shape(users=200, items=600, events=12_000))
    genre = {item.item_id: item.features[0] for item in dataset.items}
    popular: Counter[str] = Counter()
    taste: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen: defaultdict[str, set[str]] = defaultdict(set)
    hits = Counter[str]()
    for place, each in enumerate(dataset.interactions):
        if place >= 11_000 and seen[each.user_id]:
            ranked = [item for item, _ in popular.most_common() if item not in seen[each.user_id]]
            likes = taste[each.user_id]
            hits["popular"] += each.item_id in ranked[:20]
            hits["personal"] += (
                each.item_id in sorted(ranked, key=lambda item: -popular[item] * likes[genre[item]])[:20]
            )
        popular[each.item_id] += 1
        taste[each.user_id][genre[each.item_id]] += 1
        seen[each.user_id].add(each.item_id)
    assert hits["personal"] > 2 * hits["popular"] > 0


@pytest.mark.parametrize("shape", [{"users": 0}, {"items": 5}, {"events": 0}, {"users": 2, "events": 10_000}])
def test_an_impossible_synthetic_shape_is_refused(shape: dict[str, int]) -> None:
    with pytest.raises(DatasetError, match=r"users|items|events"):
        synthetic.Shape(**shape)


# The real sets, where they lie

REAL = Path(os.environ.get("SLUICE_DATA_DIR") or "/nonexistent")
SIZES = {"ml-latest-small": (48_580, 9_742), "ml-100k": (55_375, 1_682), "otto-20": (862, 510)}


@pytest.mark.parametrize("name", SIZES)
def test_a_real_set_loads_whole(name: str) -> None:
    if datasets.find(name, REAL) is None and "SLUICE_REQUIRE_ALL" not in os.environ:
        pytest.skip(f"{name} is not in SLUICE_DATA_DIR")
    start = time.perf_counter()
    dataset = datasets.load(name, REAL)
    assert time.perf_counter() - start < 5
    assert (len(dataset.interactions), len(dataset.items)) == SIZES[name]
    assert len({each.event_id for each in dataset.interactions}) == len(dataset.interactions)
