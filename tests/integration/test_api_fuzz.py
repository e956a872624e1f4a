"""schemathesis finds nothing: what /openapi.json says is what the API does, with good data and with bad.

A longer run with other data each time, for so many seconds:
``SLUICE_FUZZ_SECONDS=600 pytest -s tests/integration/test_api_fuzz.py``.
"""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sluice_recommender.api.keys import new
from sluice_recommender.api.keys_file import changing

SECONDS = float(os.environ.get("SLUICE_FUZZ_SECONDS", "0"))
EXAMPLES = 50 if SECONDS else 5
FOLDER = Path(__file__).parent


def test_schemathesis_finds_nothing(services):
    keys = services.folder / "keys.json"
    with changing(keys) as held:
        held.append(new("fuzz", ["read", "write", "admin"], "secret"))
    services.start_all(keys_file=keys)
    if not SECONDS:
        _run(services, "--generation-deterministic")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        _run(services, "--seed", str(secrets.randbelow(1 << 32)), "--generation-database", "none")
    assert services.call("GET", "/readyz").status == 200
    assert '"level": "error"' not in services.running["api"].says()


def _run(services, *data):
    command = [
        *_schemathesis(), "--config-file", FOLDER / "schemathesis.toml",
        "run", services.addresses["api"] + "/openapi.json",
        "--header", "Authorization: Bearer secret", "--max-examples", str(EXAMPLES), "--no-color",
        "--continue-on-failure", *data,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    done = subprocess.run(command, cwd=services.folder, env=environment, capture_output=True, text=True)
    said = "\n".join(line[:400] for line in done.stdout.splitlines())
    print(*said.splitlines()[-12:], sep="\n")
    assert done.returncode == 0, f"{said}\n{done.stderr}"


def _schemathesis():
    """Return the command: beside this Python, or where SLUICE_SCHEMATHESIS says."""
    command = Path(os.environ.get("SLUICE_SCHEMATHESIS", Path(sys.executable).with_name("st")))
    if not command.exists():
        if os.environ.get("SLUICE_REQUIRE_ALL"):
            pytest.fail("schemathesis is not installed")
        pytest.skip("schemathesis is not installed; name its command in SLUICE_SCHEMATHESIS")
    return [command]
