"""The event streams of ``sluice demo``: every format read, every defect named."""

import gzip
import io
import os
import threading
import time
import zipfile
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sluice_cli import datasets
from sluice_cli.datasets import Dataset, DatasetError, Options, archive, movielens, otto, synthetic, yoochoose

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


def short(value: object) -> str | None:
    """Name a case by the beginning of its text, and by nothing that changes between two runs."""
    return repr(value)[:40] if isinstance(value, str) else "bytes" if isinstance(value, bytes) else None


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


# A user's own file


def events_file(tmp_path: Path, text: str | bytes, *, packed: bool = False) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path = tmp_path / "events.dat"
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


SAME_EVENTS = {
    "json": '{"user_id":"u","item_id":"a","ts":20}\n\n{"user_id":"v","item_id":"b","ts":10,"event":"cart"}\n',
    "csv": "user_id,item_id,ts,event,event_id\nu,a,20,,\nv,b,10,cart,\n",
    "csv with mark and blank line": "\ufeff\nitem_id,user_id,ts,event\na,u,20,\nb,v,10,cart\n",
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("text", SAME_EVENTS.values(), ids=SAME_EVENTS.keys())
def test_the_content_decides_the_format(tmp_path: Path, text: str, packed: bool) -> None:
    dataset = datasets.load_events(events_file(tmp_path, text, packed=packed))
    assert [(e.user_id, e.item_id, e.ts, e.event) for e in dataset.interactions] == [
        ("v", "b", 10, "cart"),
        ("u", "a", 20, "view"),
    ]
    assert dataset.bad_rows == ()


def test_pairs_split_at_the_first_colon_and_keep_their_order(tmp_path: Path) -> None:
    dataset = datasets.load_events(events_file(tmp_path, "u:a\nv:b:c\nu:b\r\n"))
    assert pairs(dataset) == [("u", "a"), ("v", "b:c"), ("u", "b")]
    assert [item.item_id for item in dataset.items] == ["a", "b:c", "b"]


def test_event_ids_are_kept_or_made_from_content_and_line(tmp_path: Path) -> None:
    path = events_file(
        tmp_path, '{"user_id":"u","item_id":"a","event_id":"mine"}\n{"user_id":"u","item_id":"b"}\n'
    )
    first, second = [each.event_id for each in datasets.load_events(path).interactions]
    assert first == "mine"
    assert second is not None
    assert second.startswith("events-")
    assert second.endswith("-2")
    assert second == datasets.load_events(path).interactions[1].event_id


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"user_id":"u","item_id":"a"}\n{"user_id":"u"}\n', 2, "missing-field"),
        ('{"user_id":"u","item_id":"a"}\n{"user_id":"u","item_id"\n', 2, "bad-json"),
        ('{"user_id":"u","item_id":"a"}\nuser:item\n', 2, "bad-json"),
        ('{"user_id":"u","item_id":"a"}\n{"user_id":"u","item_id":"a","value":NaN}\n', 2, "bad-json"),
        ('{"user_id":"u","item_id":"a"}\n{"user_id":"u","control":"forget"}\n', 2, "not-an-event"),
        ('{"user_id":"u","item_id":"a"}\n{"user_id":"' + "x" * 10_000 + '","item_id":"a"}\n', 2, "bad-id"),
        (
            '{"user_id":"u","item_id":"a"}\n{"user_id":"' + "x" * 200_000 + '","item_id":"a"}\n',
            2,
            "too-large",
        ),
        ("user_id,item_id,value\nu,a,1\nu,a,nan\n", 3, "bad-field"),
        ("user_id,item_id,value\nu,a,1\nu,a,much\n", 3, "bad-field"),
        ("user_id,item_id,ts\nu,a,1\nu,a,1.5\n", 3, "bad-field"),
        ("user_id,item_id\nu,a\nu,a,b\n", 3, "bad-csv"),
        ('user_id,item_id\nu,a\nu,"a\n', 3, "bad-csv"),
        ("user_id,item_id\nu,a\n,a\n", 3, "missing-field"),
        ("u:a\nnothing\n", 2, "bad-shape"),
        ("u:a\n:b\n", 2, "bad-id"),
        (b"u:a\n\xff:b\n", 2, "bad-utf8"),
    ],
    ids=short,
)
def test_a_bad_row_is_reported_and_the_others_count(
    tmp_path: Path, text: str | bytes, line: int, reason: str
) -> None:
    dataset = datasets.load_events(events_file(tmp_path, text))
    assert pairs(dataset) == [("u", "a")]
    assert [(row.line, row.reason) for row in dataset.bad_rows] == [(line, reason)]
    assert str(dataset.bad_rows[0]).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("nothing\nmore\n", "no known format"),
        ('[{"user_id":"u"}]', "JSON array"),
        ("user_id,item\nu,a\n", "column item_id is missing"),
        ("user_id,item_id,timestamp\nu,a,1\n", "'timestamp' is unknown"),
        ("user_id,item_id,user_id\nu,a,u\n", "twice"),
        ("user_id,item_id\n", "no usable event"),
        ("{}\n{}\n", r"no usable event \(2 rows refused; the first is line 1: user_id is missing"),
        (gzip.compress(b"u:a\n" * 1_000)[:-9], "cannot be read"),
    ],
    ids=short,
)
def test_an_unusable_file_is_one_sentence(tmp_path: Path, text: str | bytes, wanted: str) -> None:
    with pytest.raises(DatasetError, match=wanted):
        datasets.load_events(events_file(tmp_path, text))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        datasets.load("file:" + str(tmp_path / "none"), tmp_path)


def test_rows_without_time_stay_behind_the_row_before(tmp_path: Path) -> None:
    text = "user_id,item_id,ts\nu,a,50\nu,b,\nu,c,10\nu,d,\n"
    assert [item for _, item in pairs(datasets.load_events(events_file(tmp_path, text)))] == [
        "c",
        "d",
        "a",
        "b",
    ]


# Finding, fetching, resolving


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in members.items():
            packed.writestr(name, text)
    return buffer.getvalue()


def whole_archive() -> dict[str, str]:
    """An archive with the right number of rows, all made up."""
    ratings = "".join(f"{row % 610},{row % 9742},4.0,{row}\n" for row in range(100_836))
    movies = "".join(f"{movie},Film {movie} (1999),Drama\n" for movie in range(9_742))
    return {
        "ml-latest-small/ratings.csv": "userId,movieId,rating,timestamp\n" + ratings,
        "ml-latest-small/movies.csv": "movieId,title,genres\n" + movies,
        "ml-latest-small/tags.csv": "",
        "ml-latest-small/README.txt": "terms",
    }


def test_resolve_fetches_once_then_finds(tmp_path: Path) -> None:
    calls = []

    def get(url: str) -> bytes:
        calls.append(url)
        return zipped(whole_archive())

    dataset, note = datasets.resolve("ml-latest-small", tmp_path / "new", Options(limit=10), get)
    assert len(dataset.interactions) == 10
    assert "fetched into" in note
    _, note = datasets.resolve("ml-latest-small", tmp_path / "new", None, get)
    assert "100,836 interactions" in note
    assert len(calls) == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["ml-latest-small"]


def defective(change: dict[str, str], *, without: str = "") -> bytes:
    members = {"ml-latest-small/" + name: "x" for name in archive.LATEST_SMALL.members if name != without}
    return zipped({**members, **change})


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"<html>", "no intact zip"),
        (defective({}, without="movies.csv"), "lacks ml-latest-small/movies.csv"),
        (defective({"../../evil": "x"}), "unsafe name"),
        (defective({"/etc/evil": "x"}), "unsafe name"),
        (defective({}), "must be the header"),
        (
            defective({"ml-latest-small/ratings.csv": RATINGS, "ml-latest-small/movies.csv": MOVIES}),
            "4 found where 100,836 belong",
        ),
    ],
    ids=short,
)
def test_a_wrong_archive_leaves_nothing_behind(tmp_path: Path, data: bytes, wanted: str) -> None:
    with pytest.raises(DatasetError, match=wanted):
        datasets.fetch("ml-latest-small", tmp_path / "data", lambda _: data)
    assert list((tmp_path / "data").iterdir()) == []
    assert datasets.find("ml-latest-small", tmp_path / "data") is None


def test_a_member_that_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 3)
    data = defective({"ml-latest-small/ratings.csv": "xxxx"})
    with pytest.raises(DatasetError, match="unpacks to more than 3 bytes"):
        datasets.fetch("ml-latest-small", tmp_path, lambda _: data)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="SLUICE_DATA_DIR"):
        datasets.fetch("ml-latest-small", tmp_path / "file", lambda _: b"")


def test_resolve_falls_back_to_synthetic_and_says_why(tmp_path: Path) -> None:
    def get(url: str) -> bytes:
        raise DatasetError(f"{url} cannot be reached")

    for name, why in (("ml-latest-small", "cannot be reached"), ("otto-20", "otto-de/recsys-dataset")):
        dataset, note = datasets.resolve(name, tmp_path, Options(limit=500), get)
        assert dataset.name == "synthetic"
        assert len(dataset.interactions) == 500
        assert f"because {name} is not there" in note
        assert why in note


def test_resolve_reads_a_file_and_counts_the_refused(tmp_path: Path) -> None:
    _, note = datasets.resolve(f"file:{events_file(tmp_path, 'u:a' + chr(10) + 'b')}", tmp_path)
    assert "1 interactions" in note
    assert "1 rows refused, the first at line 2" in note


def test_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="choose one of ml-latest-small, ml-100k"):
        datasets.load("movielens", tmp_path)
    with pytest.raises(DatasetError, match="sluice datasets fetch ml-100k"):
        datasets.load("ml-100k", tmp_path)
    with pytest.raises(DatasetError, match="cannot be fetched"):
        datasets.fetch("ader-yoochoose", tmp_path)


def test_the_directory_comes_from_the_environment() -> None:
    assert datasets.default_directory({"SLUICE_DATA_DIR": "/data"}) == Path("/data")
    assert datasets.default_directory({}) == Path.home() / ".cache/sluice/data"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/missing": 404, "/moved": 302}.get(self.path, 200))
        self.send_header("Location", "/small")
        self.end_headers()
        self.wfile.write(b"x" * (100_000 if self.path == "/large" else 10))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Answers) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_download_is_bounded_and_follows_nothing(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 50_000)
    assert archive.download(f"{server}/small") == b"x" * 10
    for path, wanted in (
        ("missing", "answered 404"),
        ("moved", "cannot be reached|answered 302"),
        ("large", "more than"),
    ):
        with pytest.raises(DatasetError, match=wanted):
            archive.download(f"{server}/{path}")


def test_download_from_a_closed_port_is_one_sentence(server: str) -> None:
    port = int(server.rsplit(":", 1)[1])
    with HTTPServer(("127.0.0.1", 0), _Answers) as other:
        closed = other.server_port
    assert closed != port
    with pytest.raises(DatasetError, match=r"cannot be reached \(NewConnectionError\)"):
        archive.download(f"http://127.0.0.1:{closed}/small")


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
