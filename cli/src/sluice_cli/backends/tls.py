"""A certificate authority of one folder, and a certificate of this machine signed by it."""

from pathlib import Path
from typing import Final

from sluice_cli.backends import tools

_DAYS: Final = "30"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS)
_NAMES: Final = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def make(folder: Path) -> None:
    """Write ``ca.pem``, and ``server.pem`` with the server's key and certificate, unless they are there."""
    if (folder / "server.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    authority = ("-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=Sluice test authority")
    tools.run("openssl", "req", "-x509", *_KEY, *authority, folder=folder)
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-keyout", "key.pem", "-out", "certificate.pem")
    about = ("-subj", "/CN=localhost", "-addext", _NAMES, "-addext", "basicConstraints=critical,CA:FALSE")
    tools.run("openssl", "req", "-x509", *_KEY, *signed, *about, folder=folder)
    pair = (folder / "key.pem").read_text() + (folder / "certificate.pem").read_text()
    (folder / "server.pem").write_text(pair)
    for key in ("ca-key.pem", "key.pem", "server.pem"):
        (folder / key).chmod(0o600)
