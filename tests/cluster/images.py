"""The images of the four services: ``python -m cluster.images`` builds them from this tree's Dockerfiles.

A build is cached under a digest of all that goes into it, so nothing is rebuilt that has not changed; what changed
reuses every layer below its code. No registry is involved: the base is a local stand-in, and ``import_into`` hands
the images to the cluster's containerd as archives that are never on the disk.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cluster import archive, base, packages, store
from cluster.commands import ClusterError

NAMES = ("operator", "trainer", "faiss", "recommender")
VERSION = "0.1.0"
NEXT = "0.1.1-e2e"
"""A second version of the same content, for tests that upgrade."""


class Cluster(Protocol):
    """What images are imported into."""

    def blobs(self) -> Collection[str]:
        """Digests of what its content store holds."""
        ...

    def import_image(self, tar: Path) -> None:
        """Take over an archive of images."""
        ...


def reference(name: str, version: str = VERSION) -> str:
    """The full name of a service's image; ``sluice/faiss:0.1.0`` in a manifest means the same."""
    return f"docker.io/sluice/{name}:{version}"


def folder(name: str) -> Path:
    """Where a service's Dockerfile and code are."""
    return Path("operator" if name == "operator" else f"services/{name}")


def build(names: Iterable[str] = NAMES) -> dict[str, str]:
    """Build what has changed since it was last built; service to the reference of its image."""
    packages.install(packages.IMAGES)
    with store.locked():
        base.ensure()
        return {name: _current(name) for name in names}


def build_next(names: Iterable[str] = NAMES) -> dict[str, str]:
    """The same images under the next version: another label, the same layers."""
    current = build(names)
    with store.locked(), tempfile.TemporaryDirectory(dir=store.FOLDER) as folder:
        for name, image in current.items():
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text(f"FROM {image}\nLABEL org.opencontainers.image.version={NEXT}\n")
            store.build(dockerfile, folder, reference(name, NEXT))
    return {name: reference(name, NEXT) for name in current}


def import_into(cluster: Cluster, references: Sequence[str]) -> None:
    """Import images into a cluster's containerd, one archive after another; what it has is not sent again."""
    with store.locked():
        for image in references:
            with archive.offered(image, cluster.blobs()) as tar:
                cluster.import_image(tar)


def _current(name: str) -> str:
    """Build one image unless one of the same inputs is there, and forget the one of other inputs."""
    revision = _revision(_inputs(name))
    known = f"localhost/inputs/{name}:{_digest(name, revision)}"
    if not store.identity(known):
        dockerfile = folder(name) / "Dockerfile"
        store.build(dockerfile, store.ROOT, "localhost/inputs/tools:latest", target="tools")
        store.build(dockerfile, store.ROOT, known, VERSION=VERSION, REVISION=revision)
        store.buildah("tag", known, reference(name))
        _forget_others(name, known)
    store.buildah("tag", known, reference(name))
    return reference(name)


def _forget_others(name: str, known: str) -> None:
    """Delete the images this one replaces, and layers that nothing needs any more."""
    listed = store.buildah("images", "--format={{.Name}}:{{.Tag}}").split()
    replaced = {tag for tag in listed if tag.startswith(f"localhost/inputs/{name}:") and tag != known}
    for tag in replaced | ({reference(name, NEXT)} & set(listed)):
        store.buildah("rmi", tag)
    store.prune()


def _inputs(name: str) -> list[str]:
    """The files and folders that an image is made of."""
    locks = [f"requirements/{lock}.txt" for lock in (name, "uv", "dev")]
    code = [
        f"{member}/{part}" for member in ("libs/sluice", folder(name)) for part in ("pyproject.toml", "src")
    ]
    return [".dockerignore", "LICENSE", f"{folder(name)}/Dockerfile", *locks, *code]


def _files(inputs: Iterable[str]) -> Iterator[Path]:
    """Every file below ``inputs``, as .dockerignore lets them through."""
    for entry in inputs:
        path = store.ROOT / entry
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _digest(name: str, revision: str) -> str:
    """What an image is made of, in sixteen characters."""
    state = hashlib.sha256(f"{store.identity(store.BASE)} {VERSION} {revision}".encode())
    for file in _files(_inputs(name)):
        state.update(str(file.relative_to(store.ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def _revision(inputs: Sequence[str]) -> str:
    """The last commit that changed the inputs, with ``-dirty`` if they have changed since; empty without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments, "--", *inputs], cwd=store.ROOT, capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("log", "-1", "--format=%H")
    return f"{commit}-dirty" if commit and git("status", "--porcelain") else commit


def main(arguments: Sequence[str] | None = None) -> None:
    """Build images and say how long each took."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.images", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; default: all")
    names = parser.parse_args(arguments).names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    try:
        for name in names:
            started = time.monotonic()
            print(f"{build([name])[name]}  {time.monotonic() - started:.1f} s", flush=True)
    except ClusterError as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
