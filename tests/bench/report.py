"""What every bench prints: the machine, the versions and the command, then a small table."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def header(command: str) -> None:
    """Print one line that says where and with what the figures were measured."""
    versions = " ".join(f"{name} {version(name)}" for name in ("numpy", "torch"))
    cores = len(os.sched_getaffinity(0))
    print(f"# {_cpu()}, {cores} cores; Python {platform.python_version()}, {versions}; {command}", flush=True)


def command() -> str:
    """Return the command as a reader would repeat it."""
    script = Path(sys.argv[0]).name
    return " ".join([".venv/bin/python", f"tests/bench/{script}", *sys.argv[1:]])


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their columns, aligned; floats with four digits."""
    cells = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    sys.stdout.flush()


def _text(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
