"""The programs that no package has: built from pinned Go modules, once, into one folder.

Each has a module of its own under ``go/``, so that go.mod and go.sum pin all that it is made of.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import layout
from cluster.commands import ClusterError, missing, run
from sluice_cli.backends import cache

_MODULES: Final = Path(__file__).parent / "go"
KUBERNETES: Final = "1.35.4"
HELM: Final = "3.22.0"
KUBECONFORM: Final = "0.8.0"
NODE_NAMES: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
"""What the ``node`` program is, depending on the name that it is called by."""


@dataclass(frozen=True)
class Program:
    """One binary: the Go package it is and the variables that the linker sets in it."""

    package: str
    variables: tuple[tuple[str, str], ...] = ()

    def ldflags(self) -> str:
        """Return the linker's flags: no debug information, and the version that it tells."""
        return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.variables)])


_KUBERNETES_MINOR: Final = KUBERNETES.split(".")[1]
_HELM_PACKAGE: Final = "helm.sh/helm/v3"
_VERSION_PACKAGE: Final = "k8s.io/component-base/version"
PROGRAMS: Final = {
    "helm": Program(
        f"{_HELM_PACKAGE}/cmd/helm",
        (
            (f"{_HELM_PACKAGE}/internal/version.version", f"v{HELM}"),
            (f"{_HELM_PACKAGE}/pkg/lint/rules.k8sVersionMajor", "1"),
            (f"{_HELM_PACKAGE}/pkg/lint/rules.k8sVersionMinor", _KUBERNETES_MINOR),
            (f"{_HELM_PACKAGE}/pkg/chartutil.k8sVersionMajor", "1"),
            (f"{_HELM_PACKAGE}/pkg/chartutil.k8sVersionMinor", _KUBERNETES_MINOR),
        ),
    ),
    "kubeconform": Program(
        "github.com/yannh/kubeconform/cmd/kubeconform", (("main.version", f"v{KUBECONFORM}"),)
    ),
    "node": Program(
        ".",
        (
            (f"{_VERSION_PACKAGE}.gitVersion", f"v{KUBERNETES}"),
            (f"{_VERSION_PACKAGE}.gitMajor", "1"),
            (f"{_VERSION_PACKAGE}.gitMinor", _KUBERNETES_MINOR),
        ),
    ),
    "coredns": Program("github.com/coredns/coredns"),
}


def program(name: str) -> Path:
    """Return the path of a program (one of the node's names too), built if it was not."""
    binary = "node" if name in NODE_NAMES else name
    if not _is_made(binary):
        with cache.locked(f"cluster-{binary}.lock"):
            if not _is_made(binary):
                _build(binary)
    return layout.bin_folder() / name


def _is_made(name: str) -> bool:
    made = layout.bin_folder() / name
    stamp = _stamp(name)
    return made.exists() and stamp.exists() and stamp.read_text() == digest(name)


def digest(name: str) -> str:
    """Return what the binary is made from, in short: another digest is another binary."""
    seen = hashlib.sha256(repr(PROGRAMS[name]).encode())
    for source in sorted((_MODULES / name).glob("*")):
        seen.update(source.read_bytes())
    return seen.hexdigest()


def _build(name: str) -> None:
    if missing(["go"]):
        raise ClusterError("go is not on the PATH; install Go 1.26 or newer")
    folder = layout.bin_folder()
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{name}.new"
    chosen = PROGRAMS[name]
    # Built at the lowest priority: it takes minutes, and nothing else on the machine should wait for it.
    run(
        *("nice", "-n", "19", "go", "build", "-o", new, "-ldflags", chosen.ldflags(), chosen.package),
        folder=_MODULES / name,
        GOFLAGS="-mod=readonly",
    )
    new.replace(folder / name)
    if name == "node":
        _link(folder)
    _stamp(name).write_text(digest(name))


def _link(folder: Path) -> None:
    for each in NODE_NAMES:
        new = folder / f".{each}.new"
        new.unlink(missing_ok=True)
        new.symlink_to("node")
        new.replace(folder / each)


def _stamp(name: str) -> Path:
    return layout.bin_folder() / f".{name}.made-of"
