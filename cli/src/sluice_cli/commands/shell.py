"""What every command shares: exit codes, errors in one sentence, and output for people and for scripts.

Exit codes: 0 done; 1 the run failed (a snapshot refused, a store that cannot be written, no API); 2 the
input was wrong (option, file, model, data set); 130 interrupted.
"""

import errno
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from sluice.errors import InvalidModel, InvalidRecord, InvalidSetting, SluiceError

if TYPE_CHECKING:
    from rich.console import Console

FAILED: Final = 1
WRONG_INPUT: Final = 2
_FIXES: Final = {
    errno.ENOSPC: "free space on that disk",
    errno.EACCES: "allow this user to use it or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder, not a file",
}


class InputError(SluiceError):
    """An option or argument is unusable."""


class Failed(SluiceError):
    """What was asked for could not be done."""


_ENDING: Final = ExitStack()


def at_end(close: Callable[[], object]) -> None:
    """Call ``close`` when the command ends, however it does."""
    _ENDING.callback(close)


class Sluice(TyperGroup):
    """The command group that turns errors into one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with ``--debug`` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except (SluiceError, OSError) as error:
            if ctx.params.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            for sentence in sentences(error):
                typer.echo(f"sluice: {sentence}", err=True)
            raise typer.Exit(exit_code(error)) from error
        finally:
            _ENDING.close()


def sentences(error: SluiceError | OSError) -> list[str]:
    """Return what to tell: one sentence, or one per problem of a model file."""
    if isinstance(error, InvalidModel):
        return [" ".join(problem.split()) for problem in error.problems]
    if isinstance(error, SluiceError):
        return [" ".join(str(error).split())]
    named = f"{error.filename}: " if error.filename else ""
    fix = _FIXES.get(error.errno or 0, "use --debug to see where")
    return [f"{named}{(error.strerror or str(error)).lower()}; {fix}"]


def exit_code(error: SluiceError | OSError) -> int:
    """Return 2 for wrong input, 1 for everything else."""
    from sluice_cli.datasets import DatasetError

    wrong = (InputError, InvalidModel, InvalidRecord, InvalidSetting, DatasetError)
    return WRONG_INPUT if isinstance(error, wrong) else FAILED


def console(*, err: bool = False) -> "Console":
    """Return the console of stdout (or stderr) as it is now."""
    from rich.console import Console

    return Console(stderr=err)


def quiet_logs(level: str = "warning") -> None:
    """Let logs through from ``level`` on, as JSON on stderr."""
    from sluice import logs

    logs.configure("cli", level, whole_process=False)


def show_json(document: Any) -> None:
    """Print ``document`` as indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def interrupt_on_sigterm() -> None:
    """Treat SIGTERM like Ctrl-C, so that a supervisor's stop also ends the services and tidies up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)  # also where the shell started us in the background


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows under a heading: a table in a terminal, else aligned text that is never cut.

    ``right`` names the columns whose cells stand to the right.
    """
    from sluice_cli.demo.figures import clean

    cells = [[clean(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        typer.echo(aligned(columns, cells, right))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return heading and rows as text in columns, two spaces apart."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def readable_bytes(count: int) -> str:
    """Return a size: ``812 B``, ``1.6 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"
