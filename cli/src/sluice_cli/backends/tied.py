"""Becomes a program that ends with its parent: ``python tied.py PARENT PROGRAM ARGUMENTS``.

On Linux the kernel kills it when the thread that started it is gone, however that ended; see
:mod:`sluice_cli.backends.process` for which thread that is.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(sys.argv[1]):
            sys.exit(0)  # the parent went before the tie held
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
