"""The certificates of a control plane: one authority, and what it signed, in one folder."""

import base64
import json
from pathlib import Path
from typing import Final

from cluster.commands import run

_DAYS: Final = "3650"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS)
CLIENTS: Final = {
    "admin": "/O=system:masters/CN=admin",
    "apiserver-kubelet": "/O=system:masters/CN=apiserver-kubelet",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "kubelet": "/O=system:nodes/CN=system:node:node1",
}
_DONE: Final = "complete"


def make(folder: Path, names: list[str]) -> None:
    """Write the authority, the API server's certificate for ``names``, every client's, and the tokens' key.

    A folder that was finished stays as it is: tokens and kubeconfigs of before stay good.
    """
    if (folder / _DONE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = ("-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=sluice-cluster")
    run("openssl", "req", "-x509", *_KEY, *authority)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "tokens.key")
    _sign(folder, "apiserver", "/CN=kube-apiserver", ("-addext", f"subjectAltName={','.join(names)}"))
    for name, subject in CLIENTS.items():
        _sign(folder, name, subject)
    (folder / _DONE).touch()


def _sign(folder: Path, name: str, subject: str, more: tuple[str, ...] = ()) -> None:
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    by = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
    about = ("-subj", subject, "-addext", "basicConstraints=critical,CA:FALSE", *more)
    run("openssl", "req", "-x509", *_KEY, *files, *by, *about)


def kubeconfig(folder: Path, client: str, server: str, context: str) -> str:
    """Return a kubeconfig that holds all it needs; JSON is YAML too."""
    cluster = {"server": server, "certificate-authority-data": _data(folder / "ca.pem")}
    user = {
        "client-certificate-data": _data(folder / f"{client}.pem"),
        "client-key-data": _data(folder / f"{client}.key"),
    }
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": client}}],
        "current-context": context,
    }
    return json.dumps(whole, indent=1) + "\n"


def write_kubeconfig(path: Path, folder: Path, client: str, server: str, context: str) -> None:
    """Write one that its owner alone reads."""
    path.touch(mode=0o600)
    path.write_text(kubeconfig(folder, client, server, context))


def _data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
