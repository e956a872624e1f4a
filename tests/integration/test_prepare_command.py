"""``sluice-recommender prepare`` against a real broker and database, as a hook runs it before every release."""

import os
import subprocess
import sys
import uuid

import pytest


def prepare(**settings):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return subprocess.run(
        [sys.executable, "-m", "sluice_recommender", "prepare"],
        env=kept | {f"SLUICE_{name.upper()}": str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def named(tmp_path):
    """Settings of a source and a database that nobody else has."""
    unique = uuid.uuid4().hex[:8]
    return {
        "home": tmp_path,
        "source": f"shop-{unique}",
        "mongo_database": f"prepare-{unique}",
        "wait_seconds": 60,
    }


def test_everything_is_made_once_and_left_alone_then(named, kafka, mongo_url, redis_url):
    settings = named | {"kafka": kafka, "mongo_url": mongo_url, "redis_url": redis_url}
    settings |= {"models": "shop.home,shop.site", "partitions": 3}
    first, again = prepare(**settings), prepare(**settings | {"partitions": 5})
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    source = named["source"]
    assert f"topic {source}.items: created, 3 partitions, compacted" in first.stdout.splitlines()
    assert sum(line.endswith("exists, 3 partitions") for line in again.stdout.splitlines()) == 5
    for model in ("shop.home", "shop.site"):
        assert f"indexes of model {model} are there" in first.stdout


def test_servers_that_are_away_end_it_with_one_sentence(named):
    ended = prepare(**named | {"kafka": "127.0.0.1:9", "wait_seconds": 1})
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("sluice-recommender: ")
    assert "Traceback" not in ended.stderr


def test_without_servers_there_is_nothing_to_make(named):
    assert prepare(**named).returncode == 0
