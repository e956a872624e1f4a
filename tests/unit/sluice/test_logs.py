"""Every line of a process is one JSON object with the same first fields, whoever wrote it."""

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from sluice import logs

FIRST = ["ts", "level", "service", "event"]


def lines_of(body: str, code: int = 0) -> list[dict[str, Any]]:
    """Run ``body`` in a process of its own, after logs are set up; return the lines it wrote."""
    program = f"from sluice import logs\nlogs.configure('test')\n{textwrap.dedent(body)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(list(line)[:4] == FIRST and line["service"] == "test" for line in lines)
    return lines


def test_a_line_of_our_own() -> None:
    [line] = lines_of(
        "import structlog; structlog.get_logger().info('snapshot serves', snapshot='a', bytes=3)"
    )
    assert (line["level"], line["event"], line["snapshot"], line["bytes"]) == (
        "info",
        "snapshot serves",
        "a",
        3,
    )
    assert line["ts"].endswith("Z")


def test_context_is_part_of_the_line() -> None:
    [line] = lines_of(
        """
        import structlog
        structlog.contextvars.bind_contextvars(request_id="r-1")
        structlog.get_logger().warning("search failed", model="default.home")
        """
    )
    assert (line["request_id"], line["model"]) == ("r-1", "default.home")


def test_lines_below_the_level_are_left_out() -> None:
    assert lines_of("import structlog; structlog.get_logger().debug('no')") == []
    assert lines_of("import logging; logging.getLogger('lib').info('no')") == []


def test_a_line_of_a_library() -> None:
    [line] = lines_of("import logging; logging.getLogger('urllib3.pool').warning('pool is %s', 'full')")
    assert (line["event"], line["level"], line["logger"]) == ("pool is full", "warning", "urllib3.pool")


def test_a_line_of_gunicorn() -> None:
    [line] = lines_of(
        """
        from gunicorn.config import Config
        from sluice.web.server import JsonLogger
        config = Config()
        config.set("loglevel", "warning")
        logger = JsonLogger(config)
        logger.info("Booting worker")
        logger.error("Worker (pid:%s) was sent SIGKILL", 7)
        """
    )
    assert (line["event"], line["logger"]) == ("Worker (pid:7) was sent SIGKILL", "gunicorn.error")


def test_an_exception_is_one_line() -> None:
    [line] = lines_of(
        """
        import structlog
        try:
            1 / 0
        except ZeroDivisionError as error:
            structlog.get_logger().error("a background task fails", exc_info=error)
        """
    )
    assert "ZeroDivisionError" in line["exception"]


def test_an_uncaught_exception_is_one_line() -> None:
    [line] = lines_of("raise RuntimeError('boom')", code=1)
    assert (line["level"], line["event"]) == ("critical", "process ends by an unexpected error")
    assert "boom" in line["exception"]


def test_an_uncaught_exception_of_a_thread_is_one_line() -> None:
    [line] = lines_of(
        """
        import threading
        thread = threading.Thread(target=lambda: 1 / 0, name="tail")
        thread.start()
        thread.join()
        """
    )
    assert (line["task"], line["event"]) == ("tail", "thread ends by an unexpected error")


def test_a_warning_is_one_line() -> None:
    [line] = lines_of("import warnings; warnings.warn('old way')")
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")


@pytest.mark.parametrize(("ends", "read"), [([], []), ([(("shop.items", 1), 7)], ["shop.items[1] 7"])])
def test_positions(ends: list[tuple[tuple[str, int], int]], read: list[str]) -> None:
    assert logs.positions(ends) == read
