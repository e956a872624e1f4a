"""The settings of what runs pods on the node: kubelet, kube-proxy and the cluster's name server. Pure."""

import json
from pathlib import Path

from cluster import layout

KUBELET_PORT = 10250
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
PROXY_METRICS_PORT = 10249
CONTROLLERS_PORT = 10257
SCHEDULER_PORT = 10259
DNS_HEALTH_PORT = 10280
DNS_READY_PORT = 10281
DNS_TTL_S = 5
"""CoreDNS's own default is 30: what the charts wait for by default, and tests would wait for with them."""


def kubelet(folder: Path) -> str:
    """Return kubelet's configuration.

    Images stay whatever the disk says, for none could be pulled again. Annotations and ConfigMaps that a volume
    shows are watched, not polled.
    """
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.ADDRESS,
        "port": KUBELET_PORT,
        "healthzBindAddress": layout.ADDRESS,
        "healthzPort": KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folder / "certificates" / "ca.pem")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.CGROUP}",
        "clusterDNS": [layout.ADDRESS],
        "clusterDomain": "cluster.local",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket()}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "logging": {"verbosity": 1},
        "maxPods": 110,
        "oomScoreAdj": 0,
        "podLogsDir": str(layout.logs() / "pods"),
        "volumePluginDir": str(folder / "volume-plugins"),
    }
    return json.dumps(config, indent=1) + "\n"


def kubelet_arguments(folder: Path) -> list[str]:
    """Return kubelet's arguments."""
    return [
        f"--config={folder / 'kubelet.yaml'}",
        f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
        f"--root-dir={folder / 'kubelet'}",
        f"--cert-dir={folder / 'serving' / 'kubelet'}",
        f"--hostname-override={layout.NODE}",
        f"--node-ip={layout.ADDRESS}",
    ]


def proxy(folder: Path) -> str:
    """Return kube-proxy's configuration: the machine's connection tracking stays as it is."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "bindAddress": layout.ADDRESS,
        "healthzBindAddress": f"{layout.ADDRESS}:{PROXY_HEALTH_PORT}",
        "metricsBindAddress": f"{layout.ADDRESS}:{PROXY_METRICS_PORT}",
        "clientConnection": {"kubeconfig": str(folder / "proxy.kubeconfig")},
        "clusterCIDR": layout.POD_RANGE,
        "hostnameOverride": layout.NODE,
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "0s", "syncPeriod": "30s"},
        "nodePortAddresses": [f"{layout.ADDRESS}/32"],
    }
    return json.dumps(config, indent=1) + "\n"


def name_server(folder: Path, upstream: bool) -> str:
    """Return CoreDNS' configuration: like Kubernetes' addon, it tells for 30 s of a pod that has left its Service.

    So do many clusters, though kubeadm's own since 1.32 (``disable success``) do not: a pod has to serve that long.
    """
    return f"""\
. {{
    bind {layout.ADDRESS}
    errors
    health {layout.ADDRESS}:{DNS_HEALTH_PORT}
    ready {layout.ADDRESS}:{DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {folder / "dns.kubeconfig"}
        pods insecure
        ttl {DNS_TTL_S}
    }}
{"    forward . /etc/resolv.conf" if upstream else ""}
    cache {DNS_TTL_S}
}}
"""


def has_upstream(resolv_conf: str) -> bool:
    """Return whether the machine has a name server to ask for other names."""
    return any(line.split()[:1] == ["nameserver"] for line in resolv_conf.splitlines())
