"""Finding a data set, fetching its archive safely, and falling back to the synthetic stream."""

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sluice_cli import datasets
from sluice_cli.datasets import DatasetError, Options, archive

RATINGS = "userId,movieId,rating,timestamp\n" + "7,10,4.0,300\n" * 4
MOVIES = "movieId,title,genres\n10,Toy Story (1995),Comedy\n"


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
    ids=["no zip", "member missing", "climbing name", "absolute name", "header", "count"],
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
    (tmp_path / "events.txt").write_text("u:a\nb\n")
    _, note = datasets.resolve(f"file:{tmp_path / 'events.txt'}", tmp_path)
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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
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
