"""Which namespace the operator watches."""

from pathlib import Path
from typing import Final

from kubernetes import config

from sluice.errors import InvalidSetting

FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def watched(named: str, file: Path = FILE) -> str:
    """Return ``named``, else this pod's namespace, else that of the kubeconfig's current context.

    Raises :class:`InvalidSetting` if nothing names one.
    """
    if named:
        return named
    try:
        return file.read_text().strip()
    except OSError:
        pass
    try:
        _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise InvalidSetting("SLUICE_NAMESPACE is not set, and this is no pod; set it") from error
    return str(context["context"].get("namespace", "default"))
