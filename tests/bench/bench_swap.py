"""A snapshot of 100,000 items x 64 let into a pod that serves: seconds until it does, and searches meanwhile.

Four kept-alive connections search the snapshot that stays. Steady turns and turns of swaps alternate: in the
latter another snapshot is copied, verified, mapped, warmed, and let go again, over and over.
"""

import argparse
import os
import statistics
import tempfile
import threading
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import load
import report
from searching import Data, Pod

ROWS, CONNECTIONS = 100_000, 4


class Swapping:
    """Lets a second snapshot in and out while it is entered, resting half a second in between."""

    def __init__(self, pod: Pod) -> None:
        self._pod, self.seconds = pod, list[float]()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> "Swapping":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _swap(self) -> None:
        while not self._stopping.wait(0.5):
            self.seconds.append(self._pod.want("stays", "swapped"))
            self._pod.want("stays")


def main() -> None:
    """Print the table; ``--quick`` takes one short turn of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    turns, seconds = (1, 4.0) if quick else (5, 8.0)
    report.header(report.command())
    data = Data(ROWS)
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        pod = Pod(Path(folder))
        for name in ("stays", "swapped"):
            made, _ = pod.cut(name, data.content())
        steady, meanwhile, took = list[load.Figures](), list[load.Figures](), list[float]()
        targets = data.targets("stays")
        with pod.serving("stays"):
            for _ in range(turns):
                steady.append(load.in_own_process(pod.port, CONNECTIONS, seconds, targets))
                with Swapping(pod) as swapping:
                    meanwhile.append(load.in_own_process(pod.port, CONNECTIONS, seconds, targets))
                took += swapping.seconds
    rows = [_row(name, figures) for name, figures in (("steady", steady), ("while swapping", meanwhile))]
    report.table(("searches", "1/s", "p50 ms", "p99 ms", "failed"), rows)
    ratio = _median(meanwhile, "p99_ms") / _median(steady, "p99_ms")
    print(f"p99 while swapping: {ratio:.2f}x steady (goal 1.2x)")
    print(
        f"{len(took)} swaps of {made.bytes / 1e6:.0f} MB ({made.parts['items'].index}): served after"
        f" {statistics.median(took):.2f} s (median), {max(took):.2f} s (worst)"
    )


def _row(name: str, turns: list[load.Figures]) -> tuple[object, ...]:
    failed = sum(turn.broken + sum(turn.statuses.values()) - turn.statuses.get("200", 0) for turn in turns)
    rate, p50, p99 = (_median(turns, field) for field in ("rate", "p50_ms", "p99_ms"))
    return name, f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}", failed


def _median(turns: list[load.Figures], field: str) -> float:
    return float(statistics.median(getattr(turn, field) for turn in turns))


if __name__ == "__main__":
    main()
