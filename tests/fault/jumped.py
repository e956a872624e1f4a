"""Runs a module whose wall clock is wrong: ``python jumped.py --by SECONDS [--after S] MODULE [ARGS ...]``.

``time.time`` and ``time.time_ns`` are ahead by ``--by`` seconds (behind, if negative), from ``--after`` seconds
after the start on; the monotonic clock goes on as it does. Forked children inherit it.
"""

import argparse
import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Become the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--by", type=float, required=True)
    parser.add_argument("--after", type=float, default=0.0)
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parsed = parser.parse_args()
    true_time, jumps_at = time.time, time.monotonic() + parsed.after

    def wrong_time() -> float:
        return true_time() + (parsed.by if time.monotonic() >= jumps_at else 0.0)

    time.time = wrong_time
    time.time_ns = lambda: int(wrong_time() * 1e9)
    sys.path[0] = str(Path.cwd())
    sys.argv = [parsed.module, *parsed.arguments]
    runpy.run_module(parsed.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
