"""A catalogue of 657,940 items x 64, clustered: seconds to cut and to load, bytes, searches over HTTP, fidelity.

Cut twice: the second one takes its parent's centroids over. Fidelity is the recall of the exact top 20, asked
with 256 users' encoded histories; the searches of the load are 500 users'.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import load
import report
from searching import Data, Pod

ROWS, GOAL_MS, GOAL_FIDELITY = 657_940, 5.0, 0.98


def main() -> None:
    """Print the tables; ``--quick`` takes a tenth of the items and short turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, seconds = (ROWS // 10, 2.0) if quick else (ROWS, 10.0)
    report.header(report.command())
    data = Data(count)
    content = data.content()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        pod = Pod(Path(folder))
        first, cut_s = pod.cut("s1", content)
        _, again_s = pod.cut("s2", content, parent="s1")
        part = first.parts["items"]
        with pod.serving():
            load_s = pod.want("s1")
            figures = {
                connections: load.in_own_process(pod.port, connections, seconds, data.targets("s1"))
                for connections in (1, 8)
            }
    rows = [
        ("cut", f"{cut_s:.1f} s"),
        ("cut beside its parent", f"{again_s:.1f} s"),
        ("load", f"{load_s:.1f} s"),
    ]
    rows += [("bytes", f"{first.bytes / 1e6:.0f} MB"), ("index", f"{part.index} {part.parameters}")]
    rows += [("fidelity", f"{first.metrics['indexRecall']:.4f} (goal {GOAL_FIDELITY})")]
    report.table((f"{count:,} x 64", ""), rows)
    report.table(
        ("connections", "searches/s", "p50 ms", f"p99 ms (goal {GOAL_MS:.0f})", "failed"),
        [
            (number, f"{each.rate:,.0f}", f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}", each.broken)
            for number, each in figures.items()
        ],
    )


if __name__ == "__main__":
    main()
