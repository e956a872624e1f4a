"""Which layout serves best: numbers of threads, Python's switch interval, and gunicorn's own worker class.

Each layout is an API process, and a Faiss process where that differs too, beside the same running platform. All
are loaded in turn by eight kept-alive connections, several rounds; medians count, and so does the processor time
that the API took per request, which says more than the rate where other work runs.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import load
import report
import running

from sluice_cli.fleet import Files
from sluice_cli.platform import Platform

START = """
import runpy, sys
import sluice.web.server as server
module, arguments, interval, worker_class = {module!r}, {arguments!r}, {interval!r}, {worker_class!r}
if interval:
    sys.setswitchinterval(interval)
if worker_class:
    configure = server._Application.load_config
    def load_config(self):
        configure(self)
        self.cfg.set("worker_class", worker_class)
    server._Application.load_config = load_config
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


class Layout(NamedTuple):
    """One way to run the two services."""

    name: str
    api_threads: int = 2
    pod_threads: int = 2
    interval: float | None = None
    worker_class: str | None = None


LAYOUTS = (
    Layout("2 threads, pod 2"),
    Layout("4 threads, pod 4", api_threads=4, pod_threads=4),
    Layout("8 threads, pod 4", api_threads=8, pod_threads=4),
    Layout("4 threads, pod 1", api_threads=4, pod_threads=1),
    Layout("2 threads, pod 4", pod_threads=4),
    Layout("3 threads, pod 2", api_threads=3),
    Layout("2 threads, pod 1", pod_threads=1),
    Layout("2 and 2, switch 1 ms", interval=0.001),
    Layout("4 and 4, gunicorn's gthread", api_threads=4, pod_threads=4, worker_class="gthread"),
)


class Servers:
    """Starts services beside a platform; they end with it."""

    def __init__(self, platform: Platform, stack: ExitStack) -> None:
        self._platform, self._stack = platform, stack
        self._common = {"SLUICE_HOME": str(platform.home), "SLUICE_MODEL_FILE": str(platform.model_file)}

    def start(self, layout: Layout) -> tuple[int, int]:
        """Start both services; return the API's port and process."""
        files = Files(self._platform.home)
        pod = next(each.name for each in files.pods())
        cache = self._platform.home / "cache" / layout.name.replace(" ", "-")
        settings = {"SLUICE_WANTED_FILE": str(files.wanted(pod)), "SLUICE_CACHE": str(cache)}
        pod_port, _ = self._run(
            layout, "sluice_faiss", (), {"SLUICE_THREADS": str(layout.pod_threads)} | settings
        )
        urls = {"SLUICE_FAISS_STABLE_URLS": f"http://127.0.0.1:{pod_port}"}
        threads = {"SLUICE_THREADS": str(layout.api_threads)}
        return self._run(layout, "sluice_recommender", ("api",), urls | threads)

    def _run(
        self, layout: Layout, module: str, arguments: Sequence[str], settings: dict[str, str]
    ) -> tuple[int, int]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        code = START.format(
            module=module, arguments=arguments, interval=layout.interval, worker_class=layout.worker_class
        )
        environment = os.environ | self._common | settings | {"SLUICE_LISTEN_PORT": str(port)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
        self._stack.enter_context(_ended(process))
        running.eventually(lambda: _listens(port), f"{module} listens", 60.0)
        return port, process.pid


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Print the table; ``--quick`` takes one short round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    rounds, seconds = (1, 1.0) if parser.parse_args().quick else (5, 4.0)
    report.header(report.command())
    data = running.stream(users=300, items=600, events=12_000)
    targets = [f"/v1/recommendations/{each.user_id}?n=10" for each in data.interactions[::40]]
    figures: dict[str, list[tuple[float, ...]]] = {each.name: [] for each in LAYOUTS}
    with running.platform(data) as (platform, _), ExitStack() as stack:
        servers = Servers(platform, stack)
        started = {layout.name: servers.start(layout) for layout in LAYOUTS}
        for _ in range(rounds):
            for name, (port, pid) in started.items():
                before = running.processor_ms(pid)
                turn = load.in_own_process(port, 8, seconds, targets)
                used = (running.processor_ms(pid) - before) / max(1.0, turn.rate * (seconds + load.WARM_UP_S))
                figures[name].append((turn.rate, turn.p50_ms, turn.p99_ms, used))
    rows = []
    for name, turns in figures.items():
        rate, p50, p99, used = (statistics.median(column) for column in zip(*turns, strict=True))
        rows.append((name, f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{used:.2f}"))
    report.table(("layout", "requests/s", "p50 ms", "p99 ms", "API processor ms/request"), rows)


if __name__ == "__main__":
    main()
