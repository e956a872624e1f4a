"""A certificate authority of one folder, and a certificate of an address of this machine signed by it."""

from pathlib import Path
from typing import Final

from sluice_cli.backends import tools

_DAYS: Final = "30"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS)


def make(folder: Path, address: str) -> None:
    """Write ``ca.pem``, and ``server.pem`` with key and certificate of ``address``, unless they are there."""
    if (folder / "server.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    authority = ("-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=Sluice test authority")
    tools.run("openssl", "req", "-x509", *_KEY, *authority, folder=folder)
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-keyout", "key.pem", "-out", "certificate.pem")
    names = f"subjectAltName=DNS:localhost,IP:{address}"
    about = ("-subj", "/CN=localhost", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE")
    tools.run("openssl", "req", "-x509", *_KEY, *signed, *about, folder=folder)
    pair = (folder / "key.pem").read_text() + (folder / "certificate.pem").read_text()
    (folder / "server.pem").write_text(pair)
    for key in ("ca-key.pem", "key.pem", "server.pem"):
        (folder / key).chmod(0o600)
