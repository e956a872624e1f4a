"""What is asked of a broker as its client: whether it serves, and its users' passwords."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export the last three
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from sluice_cli.backends.tools import BackendUnavailable

ASK_S: Final = 5.0
_ITERATIONS: Final = 4_096
_LOGIN_S: Final = 20.0


def lists_topics(bootstrap: str, settings: Mapping[str, str] | None = None, timeout_s: float = ASK_S) -> bool:
    """Return whether a client with these settings gets an answer within ``timeout_s``."""
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": _ignore}
    client = AdminClient({"bootstrap.servers": bootstrap, **(settings or {}), **quiet})
    try:
        client.list_topics(timeout=timeout_s)
    except KafkaException:
        return False
    return True


def set_password(bootstrap: str, user: str, password: str) -> None:
    """Create a user or change its password, through the listener without login."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _ITERATIONS)
    wanted = UserScramCredentialUpsertion(user, scram, password.encode())
    client.alter_user_scram_credentials([wanted])[user].result(ASK_S)


def wait_for_login(bootstrap: str, ca_file: Path, user: str, password: str) -> None:
    """Wait until the broker has learned a password that its controller took."""
    deadline = time.monotonic() + _LOGIN_S
    while not lists_topics(bootstrap, login(ca_file, user, password)):
        if time.monotonic() > deadline:
            raise BackendUnavailable(f"Kafka does not let {user} in with the password set for it")


def login(ca_file: Path, user: str, password: str) -> dict[str, str]:
    """Return the client settings of a login at the secure listener."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.location": str(ca_file),
    }


def _ignore(_error: KafkaError) -> None:
    """Leave it: what cannot be reached yet is asked for again."""
