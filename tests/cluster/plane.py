"""The settings of a control plane's programs: pure, for the node and for a control plane alone."""

from dataclasses import dataclass
from pathlib import Path

from cluster import layout


@dataclass(frozen=True)
class Plane:
    """Where one control plane keeps its data and where it listens."""

    folder: Path
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def url(self) -> str:
        """Where clients reach the API server."""
        return f"https://{self.address}:{self.port}"

    @property
    def etcd_url(self) -> str:
        """Where the API server reaches etcd: this machine alone, for it asks for no password."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def certificates(self) -> Path:
        """The folder of its certificates."""
        return self.folder / "certificates"

    def names(self) -> list[str]:
        """Return the names that the API server's certificate is good for."""
        addresses = {"127.0.0.1", layout.SERVICE_ADDRESS, self.address}
        service = "kubernetes.default.svc"
        names = ["kubernetes", "kubernetes.default", service, f"{service}.cluster.local", "localhost"]
        return [*(f"IP:{each}" for each in sorted(addresses)), *(f"DNS:{each}" for each in names)]

    def etcd(self) -> list[str]:
        """Return etcd's arguments. Nothing is synced to disk: data outlive a crash of it, not of the machine."""
        peer = f"http://127.0.0.1:{self.etcd_peer_port}"
        return [
            "--name=node1",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=node1={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def apiserver(self, *, alone: bool) -> list[str]:
        """Return the API server's arguments; ``alone`` without controllers and a network to announce itself in."""
        pki = self.certificates
        arguments = [
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--etcd-servers={self.etcd_url}",
            f"--service-cluster-ip-range={layout.SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            f"--client-ca-file={pki / 'ca.pem'}",
            f"--tls-cert-file={pki / 'apiserver.pem'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--cert-dir={pki}",
            f"--service-account-key-file={pki / 'tokens.key'}",
            f"--service-account-signing-key-file={pki / 'tokens.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.pem'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--profiling=false",
        ]
        if alone:
            # A loopback address is no endpoint, and nobody makes the accounts that pods would need.
            return [
                *arguments,
                "--endpoint-reconciler-type=none",
                "--disable-admission-plugins=ServiceAccount",
            ]
        return [*arguments, "--enable-admission-plugins=NodeRestriction"]

    def controller_manager(self, port: int) -> list[str]:
        """Return the controller manager's arguments; it serves its health on ``port``."""
        pki = self.certificates
        return [
            *self._controller("controller-manager", port),
            f"--root-ca-file={pki / 'ca.pem'}",
            f"--service-account-private-key-file={pki / 'tokens.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.pem'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--use-service-account-credentials=true",
        ]

    def scheduler(self, port: int) -> list[str]:
        """Return the scheduler's arguments; it serves its health on ``port``."""
        return self._controller("scheduler", port)

    def _controller(self, client: str, port: int) -> list[str]:
        config = self.folder / f"{client}.kubeconfig"
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--leader-elect=false",
            f"--bind-address={self.address}",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'serving' / client}",
            "--profiling=false",
        ]
