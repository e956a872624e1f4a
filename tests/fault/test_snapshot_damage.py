"""Damaged and hostile snapshots: always refused with a reason, and what served before serves on."""

import hashlib
import io
import json
import resource
import shutil
import struct
import subprocess
import sys

import dying
import numpy as np
import pytest
from harness import until
from pod import Pod, clustered, content, provenance

from sluice.errors import SnapshotRefused
from sluice.snapshot import choice, manifest, writer
from sluice.snapshot.unit import Unit
from sluice.snapshot.verify import verify

KINDS = ("Flat", "IVFFlat", "HNSW")
ROWS, WIDTH = 1_500, 16


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Return one sound unit of each index type."""
    folder, units = tmp_path_factory.mktemp("units"), {}
    with pytest.MonkeyPatch.context() as patched:
        for kind in KINDS:
            rows = 50_000 if kind == "Flat" else 100
            patched.setattr(choice, "FLAT_ROWS", rows)
            patched.setattr(writer, "FLAT_ROWS", rows)
            patched.setattr(choice, "CHEAP", 1.0 if kind == "IVFFlat" else 0.0)
            patched.setattr(choice, "WORTHWHILE", 1e9)
            patched.setattr(choice, "_IVF_READ", 1e6 if kind == "HNSW" else 1.5)
            units[kind] = folder / kind / "snap-1"
            made = writer.write(units[kind], content(clustered(ROWS, WIDTH)), provenance("snap-1"))
            assert made.parts["items"].index == kind
    return units


@pytest.fixture(params=KINDS)
def unit(request, originals, tmp_path):
    """Return a copy of a sound unit, to be damaged."""
    return shutil.copytree(originals[request.param], tmp_path / "snap-1")


@pytest.fixture
def digest(unit):
    """Return the digest that the catalog has."""
    return manifest.digest(unit / manifest.MANIFEST)


def verified(unit):
    verify(unit)
    return Unit.open(unit)


def is_refused(unit, digest, name=""):
    with pytest.raises(SnapshotRefused) as caught:
        verify(unit, digest)
    assert name in str(caught.value)
    return True


# --- faults of disks and copies (2, 3, 4)


def test_a_file_cut_short_anywhere_is_refused_by_name(unit, digest):
    for path in sorted(unit.iterdir()):
        data = path.read_bytes()
        lengths = {
            *range(0, min(len(data), 200), 7),
            *range(0, len(data), max(1, len(data) // 25)),
            len(data) - 1,
        }
        for length in lengths:
            path.write_bytes(data[:length])
            assert is_refused(unit, digest, path.name.removesuffix(".json"))
        path.write_bytes(data)
    verify(unit, digest)


def test_a_bit_flipped_anywhere_is_refused_by_name(unit, digest):
    draw = np.random.default_rng(1)
    for path in sorted(unit.iterdir()):
        data = path.read_bytes()
        for place in {
            *range(0, min(len(data), 160), 5),
            *draw.integers(0, len(data), 40).tolist(),
            len(data) - 1,
        }:
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(draw.integers(0, 8))
            path.write_bytes(flipped)
            assert is_refused(unit, digest, path.name.removesuffix(".json"))
        path.write_bytes(data)
    verify(unit, digest)


def test_files_in_each_others_place_are_refused(unit, digest):
    names = sorted(path.name for path in unit.iterdir() if path.name != manifest.MANIFEST)
    for one, two in zip(names, [*names[1:], names[0]], strict=True):
        first, second = (unit / one).read_bytes(), (unit / two).read_bytes()
        (unit / one).write_bytes(second)
        (unit / two).write_bytes(first)
        if first != second:
            assert is_refused(unit, digest)
        (unit / one).write_bytes(first)
        (unit / two).write_bytes(second)


def test_files_and_manifest_of_another_snapshot_are_refused(originals, unit, digest, tmp_path):
    other = tmp_path / "other" / "snap-2"
    writer.write(other, content(clustered(ROWS, WIDTH, seed=2)), provenance("snap-2"))
    for name in ("items.matrix.npy", "items.norms.npy", "encoder.prior.npy"):
        good = (unit / name).read_bytes()
        (unit / name).write_bytes((other / name).read_bytes())
        assert is_refused(unit, digest, name)
        (unit / name).write_bytes(good)
    shutil.copy(other / manifest.MANIFEST, unit)
    assert is_refused(unit, digest, "catalog")
    assert is_refused(unit, None, "snap-2")


# --- hostile files whose checksums are right (5): a trainer that was taken over


def sealed(unit, change=lambda document: None):
    """Give the manifest the checksums of the files as they are now."""
    document = json.loads((unit / manifest.MANIFEST).read_text())
    for path in unit.iterdir():
        if path.name in document["files"]:
            data = path.read_bytes()
            document["files"][path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(document)
    (unit / manifest.MANIFEST).write_text(json.dumps(document))


READER = """
import resource, sys
from pathlib import Path
from sluice.errors import SnapshotRefused
from sluice.snapshot.unit import Unit
from sluice.snapshot import index
index.library()
taken = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20), -1))
good = (Path(sys.argv[1]) / "items.index").read_bytes()
refused = opened = 0
for place in range(0, 320, 4):
    for value in (0xFFFFFFFF, 1 << 30):
        for size in (4, 8):
            data = bytearray(good)
            data[place:place + size] = (value << (32 if size == 8 else 0)).to_bytes(size, "little")
            (Path(sys.argv[1]) / "items.index").write_bytes(data)
            try:
                Unit.open(Path(sys.argv[1]))
                opened += 1
            except SnapshotRefused as error:
                assert "items.index" in str(error), error
                refused += 1
print(refused, opened)
"""


@pytest.mark.parametrize("unit", ["IVFFlat", "HNSW"], indirect=True)
def test_an_index_with_a_hostile_header_is_refused_within_bounded_memory(unit):
    child = subprocess.run(
        [sys.executable, "-c", READER, str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr[-2_000:]
    refused = int(child.stdout.split()[0])
    assert refused > 50


def header(description, data=b""):
    """Return an .npy file with this header."""
    text = description.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def array(values):
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


HOSTILE = {
    "huge": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1024)}", b"x" * 99),
    "overflowing": header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 16)}"),
    "negative": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 16)}", b"x" * 64),
    "objects": array(np.array([{"a": 1}] * ROWS, dtype=object)),
    "code": header("__import__('os').system('true')"),
    "deep": header("(" * 20_000 + ")" * 20_000),
    "long": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b" " * 99,
    "columns": array(np.asfortranarray(np.ones((ROWS, WIDTH), np.float32))),
    "doubles": array(np.ones((ROWS, WIDTH))),
    "flat": array(np.ones(ROWS * WIDTH, np.float32)),
    "strings": array(np.array(["x"] * ROWS)),
    "fields": array(np.zeros(ROWS, dtype=[("a", "<f4")])),
    "empty": b"",
    "zip": b"PK\x03\x04" + b"x" * 99,
    "pickle": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("unit", ["Flat"], indirect=True)
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["items.matrix.npy", "items.hashes.npy", "encoder.prior.npy"])
def test_an_array_with_a_hostile_header_is_refused(unit, hostile, name):
    (unit / name).write_bytes(HOSTILE[hostile])
    sealed(unit)
    verify(unit)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SnapshotRefused):
        Unit.open(unit)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (64 << 10)


@pytest.mark.parametrize("unit", ["IVFFlat"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["files"].update({"../x": {"bytes": 1, "sha256": "0"}}),
        lambda document: document["files"].update({"/etc/hostname": {"bytes": 1, "sha256": "0"}}),
        lambda document: document["files"].update({"items.matrix.npy": {"bytes": 1 << 80, "sha256": "0"}}),
        lambda document: document["files"].update({"items.matrix.npy": {"bytes": -1, "sha256": "0"}}),
        lambda document: document["parts"]["items"].update(rows=1 << 62),
        lambda document: document["parts"]["items"].update(width=-1),
        lambda document: document["parts"]["items"].update(parameters={"nprobe": 1 << 62}),
        lambda document: document["parts"]["items"].update(parameters={"nprobe": 1.5}),
        lambda document: document["parts"]["items"].update(index="Flat/../x"),
        lambda document: document["parts"].update(
            users={"kind": "vectors", "entity": "users", "rows": 1, "width": 1}
        ),
        lambda document: document["encoder"].update(parameters={"decay": "x" * 1_000}),
        lambda document: document.update(schema_version=1 << 70),
        lambda document: document.update(id="../snap-1"),
    ],
)
def test_a_hostile_manifest_is_refused(unit, change):
    sealed(unit, change)
    with pytest.raises(SnapshotRefused):
        verified(unit)


@pytest.mark.parametrize("unit", ["Flat"], indirect=True)
@pytest.mark.parametrize(
    "data", [b"[" * 900_000, b'{"a":' * 100_000, b" " * (2 << 20), b"1" * 900_000], ids=len
)
def test_a_deep_or_large_manifest_is_refused(unit, data):
    (unit / manifest.MANIFEST).write_bytes(data)
    assert is_refused(unit, None, "manifest")


# --- a pod


def test_a_pod_refuses_every_kind_of_damage_and_serves_on(tmp_path, children, originals):
    pod = Pod(tmp_path, children)
    pod.cut("good", clustered(ROWS, WIDTH))
    damage = {
        "short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        "gone": lambda path: path.unlink(),
        "swapped": lambda path: shutil.copy(path.with_name("items.norms.npy"), path),
        "manifest": lambda path: shutil.copy(pod.store / "good" / manifest.MANIFEST, path.parent),
    }
    for name, break_it in damage.items():
        break_it(pod.cut(name, clustered(ROWS, WIDTH)) / "items.matrix.npy")
    pod.want("good")
    pod.start(workers=2)
    pod.serves("good")
    found = pod.search("good")
    pod.want("good", *damage)
    until(lambda: len(pod.refused()) == len(damage), "all refused")
    reasons = pod.refused()
    assert all(
        word in reasons[name] for name, word in {"short": "bytes instead of", "flipped": "checksum"}.items()
    )
    assert all("items.matrix.npy" in reasons[name] for name in damage if name != "manifest")
    assert pod.loaded() == ["good"]
    assert pod.search("good") == found
    assert sorted(path.name for path in pod.cache.iterdir() if path.name[0] != ".") == [
        "good",
        "good.verified",
    ]
    pod.cut("again", clustered(ROWS, WIDTH))
    pod.want("again")
    pod.serves("again")


def test_a_pod_killed_at_any_durable_write_serves_a_verified_copy_when_it_is_back(tmp_path, children):
    pod = Pod(tmp_path, children)
    directory = pod.cut("s1", clustered(ROWS, WIDTH))
    digest = manifest.digest(directory / manifest.MANIFEST)
    pod.want("s1")
    counted, killed = tmp_path / "count", 0
    while True:
        shutil.rmtree(pod.cache, ignore_errors=True)
        counted.unlink(missing_ok=True)
        child = pod.start(at=killed + 1, count_file=counted, workers=1)
        until(lambda child=child: not child.running or pod.loaded() == ["s1"], "dead or serving")
        if child.running:  # it has come through: all its writes have had their turn
            break
        killed += 1
        pod.start(workers=1)
        pod.serves("s1")
        assert pod.search("s1")
        verify(pod.cache / "s1", digest)
        assert pod.stop() == 0
        pod.want("s1")
    assert killed >= 3  # the copy's rename, its note's, the board's
    assert dying.count(counted) <= killed
