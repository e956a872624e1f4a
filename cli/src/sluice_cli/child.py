"""Runs one service module so that it ends with its supervisor: ``python -m sluice_cli.child PID MODULE ARGS``.

On Linux the kernel sends SIGTERM when the parent dies, however it dies, so a killed ``sluice up`` leaves
no process behind. Elsewhere the next start finds the port in use and says so.
"""

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Tie this process to its parent, then become the module."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):
            sys.exit(0)  # the supervisor went before the tie held
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
