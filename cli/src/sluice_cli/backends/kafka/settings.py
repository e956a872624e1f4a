"""``server.properties`` of a broker that is its own controller."""

from pathlib import Path
from typing import Final

import msgspec

_PROTOCOLS: Final = {
    "main": "PLAINTEXT",
    "controller": "PLAINTEXT",
    "secure": "SASL_SSL",
    "proxied": "PLAINTEXT",
}
_FIXED: Final = """\
process.roles=broker,controller
node.id=1
inter.broker.listener.name=MAIN
controller.listener.names=CONTROLLER
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
"""


class Listener(msgspec.Struct, frozen=True):
    """Where a listener is bound and what clients are told, both ``host:port``."""

    bound: str
    advertised: str


def properties(listeners: dict[str, Listener], folder: Path) -> str:
    """Return the settings of a broker in ``folder`` with these of the listeners of ``_PROTOCOLS``."""
    bound = {name.upper(): listener.bound for name, listener in listeners.items()}
    told = {name.upper(): listener.advertised for name, listener in listeners.items()}
    lines = [
        _FIXED.strip(),
        f"log.dirs={folder / 'data'}",
        f"controller.quorum.voters=1@{bound['CONTROLLER']}",
        f"listeners={_urls(bound)}",
        f"advertised.listeners={_urls(told)}",
        "listener.security.protocol.map="
        + ",".join(f"{name.upper()}:{_PROTOCOLS[name]}" for name in listeners),
    ]
    if "secure" in listeners:
        lines += _login(folder / "tls" / "server.pem")
    return "\n".join(lines) + "\n"


def _urls(addresses: dict[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in addresses.items())


def _login(key_and_certificate: Path) -> list[str]:
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return [
        "sasl.enabled.mechanisms=SCRAM-SHA-256",
        f"listener.name.secure.scram-sha-256.sasl.jaas.config={login}",
        "listener.name.secure.ssl.keystore.type=PEM",
        f"listener.name.secure.ssl.keystore.location={key_and_certificate}",
    ]
