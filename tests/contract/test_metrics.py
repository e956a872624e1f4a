"""Metrics are declared in one place, made as declared, and the reference page is current."""

import re
from pathlib import Path

import pytest

from sluice import instruments, metrics, metrics_page
from sluice.errors import InvalidSetting
from sluice.metrics import DECLARED, Metric, Process

ROOT = Path(__file__).parents[2]
METRICS = pytest.mark.parametrize("metric", DECLARED.values(), ids=lambda metric: metric.name)


@METRICS
def test_a_declaration_keeps_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"sluice(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.meaning.endswith(".")
    assert "|" not in metric.meaning
    assert metric.processes
    assert len(set(metric.labels)) == len(metric.labels)


def test_every_name_of_the_module_is_declared() -> None:
    names = {
        value for value in vars(metrics).values() if isinstance(value, str) and value.startswith("sluice_")
    }
    assert names == DECLARED.keys()


@METRICS
def test_an_instrument_is_as_declared(metric: Metric) -> None:
    make = {"counter": instruments.counter, "gauge": instruments.gauge, "histogram": instruments.histogram}
    made = make[metric.kind](metric.name)
    [family] = made.collect()
    assert family.documentation == metric.meaning
    assert made._labelnames == metric.labels
    assert make[metric.kind](metric.name) is made
    with pytest.raises(KeyError, match="not a"):
        next(each for kind, each in make.items() if kind != metric.kind)(metric.name)


def test_a_family_is_as_declared() -> None:
    family = instruments.family(metrics.EVENTS_REPEATED, {("shop.interactions",): 3})
    [sample] = family.samples
    assert (sample.name, sample.labels, sample.value) == (
        metrics.EVENTS_REPEATED,
        {"topic": "shop.interactions"},
        3,
    )


def test_the_page_is_current() -> None:
    page = (ROOT / metrics_page.PAGE.file).read_text()
    assert metrics_page.PAGE.current(page, metrics_page.tables()) == page


@pytest.mark.parametrize("process", Process)
def test_the_page_shows_what_each_process_emits(process: Process) -> None:
    title = metrics_page.TITLES[process]
    section = metrics_page.tables().partition(f"### {title}\n")[2].partition("###")[0]
    shown = set(re.findall(r"`(sluice_\w+)`", section))
    own = {m.name for m in DECLARED.values() if process in m.processes and len(m.processes) < len(Process)}
    assert shown == own != set()


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="lacks the mark"):
        metrics_page.PAGE.current("# Metrics\n", "")


def test_queries_of_the_page_name_metrics_and_labels_that_exist() -> None:
    page = (ROOT / metrics_page.PAGE.file).read_text().partition("## All metrics")[0]
    for name, labels in re.findall(r"(sluice_\w+)(?:\{([^}]*)\})?", page):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        assert base in DECLARED, name
        used = set(re.findall(r"(\w+)=~?\"", labels)) - {"job", "le"}
        assert used <= set(DECLARED[base].labels), f"{name} {labels}"
