"""A process that ends on a signal, or begins anew as the same process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading
from pathlib import Path
from sluice.lifetime import Lifetime

lives = Path(sys.argv[1])
lifetime = Lifetime()
{early}
lifetime.listen()
with lives.open("a") as file:
    file.write(f"{{__import__('os').getpid()}} {{len(threading.enumerate())}}\\n")
threading.Thread(target=threading.Event().wait, daemon=True).start()
if len(lives.read_text().splitlines()) <= {times}:
    lifetime.begin_anew()
print("working", flush=True)
lifetime.over.wait()
{late}
lifetime.end()
print("ended")
"""
HELD_BACK = "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); os.kill(os.getpid(), 15)"
TOLD = "import os; os.kill(os.getpid(), 15)"


def run(folder: Path, times: int, early: str = "", late: str = "") -> tuple[list[list[str]], str]:
    program, lives = folder / "program.py", folder / "lives"
    program.write_text(PROGRAM.format(times=times, early=early, late=late))
    process = subprocess.Popen(
        [sys.executable, program, str(lives)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    if not early and not late:
        for line in process.stdout:
            if "working" in line and len(lives.read_text().splitlines()) > times:
                process.send_signal(signal.SIGTERM)
                break
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return [line.split() for line in lives.read_text().splitlines()], said


def test_it_begins_anew_as_the_same_process_and_nothing_of_the_old_life_is_left(tmp_path: Path) -> None:
    lives, said = run(tmp_path, 2)
    assert len(lives) == 3
    assert len({pid for pid, _ in lives}) == 1
    assert {threads for _, threads in lives} == {"1"}
    assert said == "ended\n", "it comes there once"


@pytest.mark.parametrize("moment", ["early", "late"])
def test_a_signal_at_any_moment_ends_it(tmp_path: Path, moment: str) -> None:
    told = {"early": {"early": HELD_BACK}, "late": {"late": TOLD}}[moment]
    lives, said = run(tmp_path, 1, **told)
    assert len(lives) == 1
    assert said == "working\nended\n"
