"""Settings of ``sluice-operator``."""

from typing import Annotated

from msgspec import Meta

from sluice.settings import Port, Settings


class OperatorSettings(Settings, frozen=True, kw_only=True):
    """Settings of the operator."""

    namespace: Annotated[
        str,
        Meta(
            description="Namespace of the RecommenderModels; empty = that of this pod, or of the kubeconfig."
        ),
    ] = ""
    interval_seconds: Annotated[
        float, Meta(gt=0, description="Longest time between two passes over a model, in seconds.")
    ] = 1.0
    metrics_port: Annotated[Port, Meta(description="Port of health and metrics; 0 = any.")] = 8087
    metrics_host: Annotated[str, Meta(description="Address of health and metrics.")] = "127.0.0.1"
