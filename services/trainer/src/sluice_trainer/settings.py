"""Settings of ``sluice-trainer``."""

from typing import Annotated

from msgspec import Meta

from sluice.settings import FollowModel, Port, Settings


class TrainerSettings(Settings, frozen=True, kw_only=True):
    """Settings of the trainer."""

    follow_model: FollowModel = False
    status_port: Annotated[Port, Meta(description="Port of health, status and metrics; 0 = any.")] = 8085
    status_host: Annotated[str, Meta(description="Address of health, status and metrics.")] = "127.0.0.1"
    seed: Annotated[int, Meta(ge=0, lt=1 << 32, description="Seed of all randomness of this model.")] = 0
    warmup_events: Annotated[
        int, Meta(ge=1, description="How many interactions the log must hold before the first training.")
    ] = 1_000
    checkpoint_seconds: Annotated[
        float, Meta(gt=0, description="Longest time between two checkpoints, in seconds.")
    ] = 15.0
