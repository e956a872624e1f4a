"""SIGTERM under load loses no answer (case 28); a killed worker is replaced, and the metrics stay right."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from http_service import Client, Service, running

ASKED = 'sluice_requests_total{route="/pid"'


class Load(threading.Thread):
    """Asks over one kept connection, over a new one when told that it ends; notes how each request went."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """Ask until nothing listens any more."""
        while True:
            try:
                client = self._service.client()
            except ConnectionRefusedError:
                self.seen["refused"] += 1
                return
            with client:
                self._ask(client)

    def _ask(self, client: Client) -> None:
        while True:
            try:
                answer = client.get("/sleep?s=0.005")
            except ConnectionResetError:
                self.seen["reset"] += 1
                return
            except ConnectionError:
                self.seen["no answer"] += 1
                return
            self.seen[str(answer.status)] += 1
            if answer.closes:
                self.seen["last"] += 1
                return


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_under_load_answers_all_that_came_and_resets_nobody(tmp_path: Path, workers: int) -> None:
    with running(tmp_path, workers=workers, last_request_s=6.0) as service:
        loads = [Load(service) for _ in range(8)]
        for load in loads:
            load.start()
        service.until(lambda: all(load.seen["200"] > 20 for load in loads), "the load runs")
        with service.client() as slow, service.client() as idle:
            slow.send(b"GET /sleep?s=1 HTTP/1.1\r\n\r\n")
            assert idle.get("/healthz").status == 200
            time.sleep(0.1)  # the slow request is being answered
            service.process.terminate()
            answer = slow.answer()
            assert (answer.status, answer.closes) == (200, True)
            assert idle.ended()
        assert service.process.wait(20) == 0
        for load in loads:
            load.join(10)
        seen = sum((load.seen for load in loads), Counter[str]())
        assert set(seen) == {"200", "last", "refused"}, seen
        assert "Traceback" not in service.log.read_text()


def test_a_request_on_a_kept_connection_right_after_the_stop_is_answered(tmp_path: Path) -> None:
    with running(tmp_path) as service, service.client() as client:
        assert not client.get("/healthz").closes
        service.process.terminate()
        service.until(lambda: _refused(service), "nobody new is let in")
        answer = client.get("/healthz")
        assert (answer.status, answer.closes) == (200, True)
        assert service.process.wait(10) == 0


def test_without_clients_the_stop_takes_no_time(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.until(lambda: service.sockets() <= 2, "no client is left")
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 10.0, "it waited for nobody"


def test_a_killed_worker_is_replaced_and_its_counts_stay(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as service:
        pids = set(service.until(lambda: _both(service), "both workers answer"))
        count = _counted(service, ASKED)
        victim = pids.pop()
        os.kill(victim, signal.SIGKILL)
        after = service.until(
            lambda: (now := set(service.workers())) and victim not in now and len(now) == 2 and now,
            "another worker runs",
        )
        assert pids < after
        service.until(lambda: _both(service) == after, "both answer", 15.0)
        assert _counted(service, ASKED) > count, "what the killed one counted is still counted"
        assert _counted(service, "service_workers") == 2, "what it said of itself is not"


def test_a_worker_told_to_end_is_replaced_and_takes_no_metrics_along(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as service:
        before = set(service.until(lambda: _both(service), "both workers answer"))
        count = _counted(service, ASKED)
        os.kill(min(before), signal.SIGTERM)
        after = set(
            service.until(
                lambda: (now := set(service.workers())) - before and min(before) not in now and now,
                "another worker runs",
            )
        )
        assert max(before) in after
        service.until(lambda: _both(service) == after, "both answer", 15.0)
        assert _counted(service, ASKED) >= count + 20, "both are counted, and what the ended one counted"
        assert _counted(service, "service_workers") == 2


def test_a_worker_that_lost_its_master_ends(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        [worker] = service.workers()
        service.process.kill()
        service.process.wait()
        service.until(lambda: not Path(f"/proc/{worker}/cwd").exists(), "the orphan ends")


def _refused(service: Service) -> bool:
    try:
        service.client().socket.close()
    except ConnectionRefusedError:
        return True
    return False


def _both(service: Service) -> set[int]:
    """Return who answers on twenty new connections, if that is two."""
    seen = set()
    for _ in range(20):
        with service.client() as client:
            seen.add(client.get("/pid").json)
    return seen if len(seen) == 2 else set()


def _counted(service: Service, start: str) -> float:
    """Return the sum of the samples that begin so."""
    with service.client() as client:
        text = client.get("/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))
