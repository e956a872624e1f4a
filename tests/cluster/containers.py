"""The cluster's own containerd: its settings, its images, and the pause image that every pod begins with."""

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cluster import layout
from cluster.commands import run, succeeds

PAUSE: Final = "localhost/pause:3.10"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_HERE: Final = Path(__file__).parent


def settings() -> str:
    """Return containerd's configuration: no folder and no socket of the machine's own."""
    state = layout.state()
    return f"""\
version = 2
root = "{layout.containerd_root()}"
state = "{state / "containerd"}"
disabled_plugins = ["io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "{layout.containerd_socket()}"

[plugins."io.containerd.internal.v1.opt"]
path = "{layout.containerd_root() / "opt"}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{state / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{state / "runc"}"
SystemdCgroup = false
"""


def cni() -> str:
    """Return the pods' network: one bridge, addresses given out by this machine."""
    bridge = {
        "type": "bridge",
        "bridge": layout.POD_BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.state() / "addresses"),
            "ranges": [[{"subnet": layout.POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = {"cniVersion": "0.4.0", "name": layout.POD_NETWORK, "plugins": [bridge, port_map]}
    return json.dumps(network, indent=1) + "\n"


def configure() -> Path:
    """Write the settings and return containerd's; CNI's lie beside them."""
    config = layout.state() / "containerd.toml"
    (layout.state() / "cni").mkdir(parents=True, exist_ok=True)
    (layout.state() / "cni" / "10-bridge.conflist").write_text(cni())
    config.write_text(settings())
    return config


def answers() -> bool:
    """Return whether containerd serves."""
    return layout.containerd_socket().exists() and succeeds(*_ctr("version"))


def import_image(tar: Path) -> None:
    """Take over an archive of images (OCI's or Docker's) and delete it: an image is gigabytes, the disk is not."""
    run(*_ctr("images", "import", "--all-platforms", "--digests=false", tar))
    tar.unlink()


def blobs() -> dict[str, int]:
    """Return the digests that containerd holds, with their bytes."""
    folder = layout.containerd_root() / "io.containerd.content.v1.content" / "blobs"
    digests = run(*_ctr("content", "ls", "--quiet")).split()
    found = {}
    for digest in digests:
        with suppress(FileNotFoundError):  # containerd has just collected what no image needs any more
            found[digest] = (folder / digest.replace(":", "/")).stat().st_size
    return found


def images() -> list[str]:
    """Return the names of the images that are there."""
    return run(*_ctr("images", "ls", "--quiet")).split()


def ensure_pause() -> None:
    """Import the pause image, made here from its source, unless it is there."""
    if PAUSE in images():
        return
    with tempfile.TemporaryDirectory(dir=layout.state()) as temporary:
        program = Path(temporary) / "pause"
        run("gcc", "-static", "-Os", "-s", "-o", program, _HERE / "pause.c")
        archive = Path(temporary) / "pause.tar"
        archive.write_bytes(_image(program.read_bytes()))
        import_image(archive)


def _ctr(*arguments: str | Path) -> list[str | Path]:
    return ["ctr", "--address", layout.containerd_socket(), "--namespace", "k8s.io", *arguments]


def _image(program: bytes) -> bytes:
    """Return an image of one file, FROM scratch, in the form that docker save writes."""
    layer = _tar({"pause": program})
    config: dict[str, Any] = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    files = {"config.json": config, "manifest.json": manifest}
    return _tar({"layer.tar": layer} | {name: json.dumps(each).encode() for name, each in files.items()})


def _tar(files: dict[str, bytes]) -> bytes:
    """The same bytes from the same files, so that the image's digest tells its content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
