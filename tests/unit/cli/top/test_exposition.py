"""Scraped text becomes values, gains and quantiles."""

import pytest

from sluice_cli.top.exposition import parse, quantile

TEXT = """
# HELP things_total Things.
# TYPE things_total counter
things_total{kind="a",place="x"} 3
things_total{kind="a",place="y"} 4
things_total{kind="b",place="x"} 5
"""


def test_totals_and_sums_by_label() -> None:
    exposition = parse(TEXT)
    assert exposition.total("things_total") == 12
    assert exposition.total("things_total", kind="a") == 7
    assert exposition.total("things_total", kind="c") is None
    assert exposition.total("other") is None
    assert exposition.by("things_total", "kind", place="x") == {"a": 3, "b": 5}


def test_gains_since_an_earlier_scrape() -> None:
    later = parse(TEXT.replace("} 3", "} 10").replace("} 4", "} 1"))
    gained = later.since(parse(TEXT))
    assert gained.by("things_total", "place", kind="a") == {"x": 7, "y": 1}  # y began anew
    assert gained.total("things_total", kind="b") == 0


def test_without_an_earlier_scrape_everything_was_gained() -> None:
    assert parse(TEXT).since(None).total("things_total") == 12


@pytest.mark.parametrize("text", ["<html>", "things_total{", 'a{b="c"} x'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        parse(text)


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (0.9, 2.0), (0.99, 2.0)],
)
def test_a_quantile_lies_evenly_within_its_bucket(share: float, value: float) -> None:
    buckets = {"+Inf": 20.0, "2.0": 18.0, "1.0": 10.0}  # 10 up to 1, 8 up to 2, 2 beyond
    if share == 0.75:
        assert quantile(share, buckets) == pytest.approx(1 + 5 / 8)
    else:
        assert quantile(share, buckets) == pytest.approx(value)


@pytest.mark.parametrize("buckets", [{}, {"1.0": 0.0, "+Inf": 0.0}])
def test_no_observations_have_no_quantile(buckets: dict[str, float]) -> None:
    assert quantile(0.5, buckets) is None
