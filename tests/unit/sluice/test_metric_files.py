"""What worker processes that ended have counted."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from sluice.web import metric_files


def write(folder: Path, kind: str, pid: int, **values: float) -> None:
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    for name, value in values.items():
        bucket = {"le": "1.0"} if name.endswith("_bucket") else {}
        metric = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_total")
        file.write_value(mmap_key(metric, name, list(bucket), list(bucket.values()), "help"), value, 0.0)
    file.close()


def exposed(folder: Path) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return generate_latest(registry)


def test_what_ended_processes_counted_stays_and_their_files_go(tmp_path: Path) -> None:
    for pid in (1, 2, 11):
        write(tmp_path, "counter", pid, asked_total=3.0 + pid)
        write(tmp_path, "histogram", pid, took_bucket=2.0, took_sum=0.5)
    before = exposed(tmp_path)
    assert b"asked_total 23.0" in before
    assert b"took_count 6.0" in before
    for pid in (1, 2):
        metric_files.take_over(tmp_path, pid)
        assert exposed(tmp_path) == before
    left = {path.name for path in tmp_path.glob("*.db")}
    assert left == {"counter_11.db", "counter_ended.db", "histogram_11.db", "histogram_ended.db"}


def test_gauges_of_an_ended_process_go_and_taking_over_again_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "gauge_livemax", 1, level=4.0)
    write(tmp_path, "counter", 1, asked_total=4.0)
    metric_files.take_over(tmp_path, 1)
    metric_files.take_over(tmp_path, 1)
    assert b"level" not in exposed(tmp_path)
    assert b"asked_total 4.0" in exposed(tmp_path)
