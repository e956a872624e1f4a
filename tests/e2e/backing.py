"""What the release connects with: Kafka, MongoDB's protocol and Redis on the node's address, and what names them."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sluice_cli.backends import Backends


class Backing(NamedTuple):
    """Where the three are, as a pod says it."""

    kafka: str
    mongo_url: str
    redis_url: str


@contextmanager
def servers(folder: Path, host: str) -> Iterator[Backing]:
    """Run the three in ``folder`` until the block ends."""
    with Backends(folder, host=host) as started:
        yield Backing(started.kafka.bootstrap, started.mongo.url, started.redis.url)


def secret(name: str, **data: str) -> dict[str, Any]:
    """Return a Secret of these files."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def namespace(name: str) -> dict[str, Any]:
    """Return a namespace where the API server refuses every pod that is not ``restricted``."""
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def new_key(file: Path, name: str, scope: str) -> str:
    """Add an API key to the file of keys and return it."""
    sluice = Path(sys.executable).with_name("sluice")
    command = [sluice, "keys", "create", name, "--file", file, "--scope", scope]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
