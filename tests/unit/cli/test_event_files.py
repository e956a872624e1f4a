"""A user's own file of events: the content decides its format, a bad row costs that row only."""

import gzip
from pathlib import Path

import pytest

from sluice_cli import datasets
from sluice_cli.datasets import Dataset, DatasetError


def short(value: object) -> str | None:
    """Name a case by the beginning of its text, and by nothing that changes between two runs."""
    return repr(value)[:40] if isinstance(value, str) else "bytes" if isinstance(value, bytes) else None


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return [(each.user_id, each.item_id) for each in dataset.interactions]


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
