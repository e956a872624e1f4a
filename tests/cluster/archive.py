"""An image as an OCI archive that holds only what its receiver lacks: torch's layer of 5 GB travels once."""

import json
import os
import tarfile
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster import store

NAME = "io.containerd.image.name"


@contextmanager
def offered(reference: str, present: Collection[str]) -> Iterator[Path]:
    """Offer an image's archive, without the blobs whose digests are ``present`` at the receiver.

    The path is a named pipe that can be read once, and a blob is deleted when it has been read: a file would take as
    much disk again as the image.
    """
    with tempfile.TemporaryDirectory(dir=store.FOLDER) as folder:
        layout, pipe = Path(folder, "layout"), Path(folder, "image.tar")
        _lay_out(reference, layout, present)
        os.mkfifo(pipe)
        pouring = threading.Thread(target=_pour, args=(layout, pipe, present))
        pouring.start()
        try:
            yield pipe
        finally:
            with suppress(FileNotFoundError):  # the receiver deletes what it has taken
                _release(pipe, pouring)
            pouring.join()


def manifest(reference: str) -> dict[str, Any]:
    """The manifest of an image in the storage: its config and layers, each with digest and size."""
    described = json.loads(store.buildah("inspect", "--type=image", reference))
    content: dict[str, Any] = json.loads(described["Manifest"])
    return content


def _lay_out(reference: str, layout: Path, present: Collection[str]) -> None:
    """Write the image as an OCI layout, uncompressed: buildah would compress it, for minutes and to other digests."""
    _place_holders(layout, reference, present)
    source = f"containers-storage:[overlay@{store.FOLDER}/storage+{store.FOLDER}/run]{reference}"
    target = f"oci:{layout}:{reference}"
    store.contained("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", source, target)
    index = layout / "index.json"
    content: dict[str, Any] = json.loads(index.read_bytes())
    annotations = content["manifests"][0]["annotations"]
    # containerd takes OCI's own annotation for a mere tag
    annotations[NAME] = annotations.pop("org.opencontainers.image.ref.name")
    index.write_text(json.dumps(content))


def _place_holders(layout: Path, reference: str, present: Collection[str]) -> None:
    """Files of the right size that take no space: skopeo copies no blob that it finds in the layout."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for layer in manifest(reference)["layers"]:
        if layer["digest"] in present:
            with (blobs / layer["digest"].removeprefix("sha256:")).open("wb") as blob:
                blob.truncate(layer["size"])


def _pour(layout: Path, pipe: Path, present: Collection[str]) -> None:
    """Write the layout's files as a tar once somebody reads it; each is deleted once it is written."""
    with (
        suppress(BrokenPipeError),  # the receiver has had enough, or has failed and says so itself
        pipe.open("wb") as sink,
        tarfile.open(fileobj=sink, mode="w|", bufsize=1 << 20) as tar,
    ):
        for path in sorted(path for path in layout.rglob("*") if path.is_file()):
            if f"sha256:{path.name}" not in present:
                tar.add(path, str(path.relative_to(layout)))
            path.unlink()


def _release(pipe: Path, pouring: threading.Thread) -> None:
    """End the writer of a receiver that failed, perhaps before it began: it has a reader, and then has none."""
    while pouring.is_alive():
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        pouring.join(0.05)
