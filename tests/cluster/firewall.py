"""Which iptables rules are the cluster's, and how to take them out again.

The chains of kubelet and kube-proxy have the same names in every cluster: nobody else's may be there when ours
starts. The CNI plugins name chains ``CNI-`` and a digest, and put the network's name into the comments of the rules
that lead there; chains of other networks stay.
"""

import re
from collections.abc import Iterable
from typing import Final

from cluster import layout
from cluster.commands import missing, run, succeeds

_TABLE: Final = re.compile(r"^\*(\S+)")
_CHAIN: Final = re.compile(r"^:(\S+)")
_RULE: Final = re.compile(r"^-A (\S+)")
_TARGET: Final = re.compile(r" -[jg] (\S+)")
_KUBERNETES: Final = re.compile(
    r"KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|FORWARD|PROXY-FIREWALL|PROXY-CANARY"
    r"|FIREWALL|IPTABLES-HINT|KUBELET-CANARY|(?:SVC|SVL|FW|EXT|SEP)-[A-Z2-7]{16})"
)
"""Every chain that kube-proxy and kubelet make; a router or a network policy has others."""
_SHARED: Final = frozenset(
    {"CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ", "CNI-ADMIN", "CNI-FORWARD"}
)


def removal(saved: str, network: str) -> str:
    """Return what ``iptables-restore --noflush`` reads to take our rules and chains out of a saved state."""
    script: list[str] = []
    for table, lines in _tables(saved):
        changes = _changes(lines, network)
        if changes:
            script += [f"*{table}", *changes, "COMMIT"]
    return "\n".join([*script, ""]) if script else ""


def kubernetes_chains(saved: str) -> list[str]:
    """Return the chains of any Kubernetes, whichever of its programs made them."""
    chains = [found[1] for _, lines in _tables(saved) for line in lines if (found := _CHAIN.match(line))]
    return sorted({chain for chain in chains if chain.startswith("KUBE-")})


def found_chains() -> list[str]:
    """Return the chains of any Kubernetes that are there now."""
    return sorted({chain for _, saved in _saved() for chain in kubernetes_chains(saved)})


def accept_pods() -> None:
    """Let pods speak to each other and beyond where others, such as Docker, let nothing be forwarded.

    The rules come last: kube-proxy's, which refuse what has no endpoint, stay before them. Pods have no IPv6.
    """
    comment = ("-m", "comment", "--comment", f'name: "{layout.POD_NETWORK}"', "-j", "ACCEPT")
    for side in ("-i", "-o"):
        rule = ("FORWARD", side, layout.POD_BRIDGE, *comment)
        if not succeeds("iptables", "--wait", "-C", *rule):
            run("iptables", "--wait", "-A", *rule)


def clean() -> None:
    """Take our rules and chains out, of both protocols."""
    for protocol, script in _removals():
        run(f"{protocol}-restore", "--noflush", text=script)


def leftovers() -> list[str]:
    """Return the changes that would take out what is still there."""
    return [line for _, script in _removals() for line in script.splitlines() if line.startswith("-")]


def _removals() -> list[tuple[str, str]]:
    scripts = [(protocol, removal(saved, layout.POD_NETWORK)) for protocol, saved in _saved()]
    return [(protocol, script) for protocol, script in scripts if script]


def _saved() -> list[tuple[str, str]]:
    installed = [each for each in ("iptables", "ip6tables") if not missing([f"{each}-save"])]
    return [(protocol, run(f"{protocol}-save")) for protocol in installed]


def _tables(saved: str) -> Iterable[tuple[str, list[str]]]:
    table, lines = "", list[str]()
    for line in saved.splitlines():
        if found := _TABLE.match(line):
            table, lines = found[1], []
        elif line == "COMMIT":
            yield table, lines
        else:
            lines.append(line)


def _changes(lines: list[str], network: str) -> list[str]:
    """Rules that lead to our chains go first, for a chain in use cannot be removed."""
    rules = [line for line in lines if _RULE.match(line)]
    chains = [found[1] for line in lines if (found := _CHAIN.match(line))]
    ours = {chain for chain in chains if _KUBERNETES.fullmatch(chain)}
    ours |= {target for rule in rules if (target := _cni_target(rule, network))}
    foreign = [rule for rule in rules if _RULE.match(rule)[1] not in ours]  # type: ignore[index]
    leading = [rule for rule in foreign if _target(rule) in ours or _is_of(rule, network)]
    kept = [chain for chain in chains if chain in ours]
    return [
        *(f"-D {rule.removeprefix('-A ')}" for rule in leading),
        *(f"-F {chain}" for chain in kept),
        *(f"-X {chain}" for chain in kept),
    ]


def _cni_target(rule: str, network: str) -> str:
    """Return the chain of our network that a rule leads to; the plugins' common chains are nobody's."""
    target = _target(rule)
    is_ours = target.startswith("CNI-") and target not in _SHARED and _is_of(rule, network)
    return target if is_ours else ""


def _target(rule: str) -> str:
    found = _TARGET.search(rule)
    return found[1] if found else ""


def _is_of(rule: str, network: str) -> bool:
    """Return whether the comment names our network; iptables-save escapes the quotes in it."""
    return f'name: \\"{network}\\"' in rule
