"""What is in the images: ``python -m cluster.sbom`` writes a CycloneDX bill of each, and a list of digests and sizes.

The bill is made by CycloneDX' own tool inside each image, from the distributions that are really installed and without
a network. Debian's packages belong to the base and to the base's own bill.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from cluster import archive, images, store
from cluster.commands import ClusterError

LOCK = Path(__file__).with_name("cyclonedx.txt")
START = (
    "import runpy, sys; sys.path.insert(0, '/mnt'); "
    "runpy.run_module('cyclonedx_py', run_name='__main__', alter_sys=True)"
)
"""The tool's folder is no PYTHONPATH: the image's interpreter would inherit it, and the bill would list the tool."""


def write(names: Iterable[str], target: Path) -> str:
    """Write ``sbom/NAME.json`` of each service and ``images.txt`` of all below ``target``; returns the latter."""
    built = images.build(names)
    (target / "sbom").mkdir(parents=True, exist_ok=True)
    lines = [f"{'image':<32} {'digest':<71} {'bytes':>13} {'above base':>13}"]
    with store.locked():
        tool = _tool()
        for name, reference in built.items():
            bill = json.loads(_run(reference, tool, images.folder(name)))
            (target / "sbom" / f"{name}.json").write_text(json.dumps(bill, indent=1) + "\n")
            lines.append(_line(reference))
    (target / "images.txt").write_text("\n".join(lines) + "\n")
    return "\n".join(lines)


def _tool() -> Path:
    """Return the folder of CycloneDX' tool, installed into the cache from its hashed requirements once."""
    folder = store.FOLDER / "cyclonedx"
    if not (folder / LOCK.name).exists() or (folder / LOCK.name).read_bytes() != LOCK.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        install = (
            str(Path(sys.executable).with_name("uv")),
            "pip",
            "install",
            "--quiet",
            "--python-version=3.11",
        )
        store.run(*install, "--target", str(folder), "--require-hashes", "-r", str(LOCK))
        shutil.copy(LOCK, folder)
    return folder


def _run(reference: str, tool: Path, service: Path) -> str:
    """Return the bill of an image, whose subject is its service."""
    project = f"--volume={store.ROOT / service}/pyproject.toml:/tmp/pyproject.toml:ro"
    command = ("python3", "-c", START, "environment", "--output-reproducible", "--of=JSON", "--output-file=-")
    with store.container(reference) as container:
        run = ("run", "--isolation=chroot", "--user=0", f"--volume={tool}:/mnt:ro", project, container, "--")
        return store.buildah(*run, *command, "--pyproject=/tmp/pyproject.toml", "/opt/sluice")


def _line(reference: str) -> str:
    """One row of the list; sizes are those of the unpacked layers, the base's is the first."""
    sizes = [layer["size"] for layer in archive.manifest(reference)["layers"]]
    digest = store.buildah(
        "images", "--digests", "--format={{.Digest}}", "--filter", f"reference={reference}"
    )
    return f"{reference.removeprefix('docker.io/'):<32} {digest.split()[0]:<71} {sum(sizes):>13,} {sum(sizes[1:]):>13,}"


if __name__ == "__main__":
    try:
        print(write(sys.argv[1:] or images.NAMES, store.ROOT / "dist"))
    except ClusterError as error:
        sys.exit(f"sbom: {error}")
