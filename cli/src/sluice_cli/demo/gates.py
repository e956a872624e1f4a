"""The gates of a rollout as rows: verdict, value, interval, limit, and what is missing."""

from typing import Final, NamedTuple

from sluice_cli.demo.figures import UNKNOWN, clean, number
from sluice_operator.rollout.state import Measurement, Verdict

COLUMNS: Final = ("gate", "verdict", "value", "interval", "limit", "samples", "missing")
COLOURS: Final = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "magenta",
}


class GateRow(NamedTuple):
    """One gate in words."""

    gate: str
    verdict: str
    value: str
    interval: str
    limit: str
    samples: str
    missing: str
    colour: str


def gate_rows(measurements: tuple[Measurement, ...]) -> list[GateRow]:
    """Return one row per gate, in the order of the spec."""
    return [_row(each) for each in measurements]


def _row(measured: Measurement) -> GateRow:
    return GateRow(
        gate=clean(measured.gate) + (" (dry)" if measured.dry_run else ""),
        verdict=measured.verdict.value,
        value=number(measured.value),
        interval=_interval(measured),
        limit=number(measured.threshold),
        samples=f"{measured.samples:,}",
        missing=missing(measured),
        colour=COLOURS[measured.verdict],
    )


def _interval(measured: Measurement) -> str:
    if measured.lower is None and measured.upper is None:
        return UNKNOWN
    return f"[{number(measured.lower)}, {number(measured.upper)}]"


def missing(measured: Measurement) -> str:
    """Return what would decide: ``800 more, ~20 s``; why nothing is known for an error; else nothing."""
    if measured.verdict == Verdict.ERROR:
        return clean(measured.reason)
    if measured.verdict != Verdict.INCONCLUSIVE or measured.missing_samples is None:
        return ""
    words = f"{_rounded(measured.missing_samples):,} more"
    return words if measured.missing_s is None else f"{words}, ~{_duration(measured.missing_s)}"


def _rounded(count: int) -> int:
    unit = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // unit) * unit


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
