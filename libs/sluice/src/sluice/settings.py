"""Settings of a process, read from the environment once at its start.

Each service declares a frozen msgspec Struct; field ``log_level`` is read from ``SLUICE_LOG_LEVEL``. The
reference page of settings is generated from these types.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from sluice.errors import InvalidSetting

PREFIX = "SLUICE_"
S = TypeVar("S", bound="Settings")

Port = Annotated[int, Meta(ge=0, le=65535)]
FollowModel = Annotated[
    bool,
    Meta(
        description="Whether a model file may be missing and may change: the process waits for one, and takes a"
        " changed one over by itself; the last good one stays."
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service needs. ``home`` holds all state of the embedded mode."""

    home: Annotated[str, Meta(description="Folder of all state that is kept on this machine.")] = ".sluice"
    model_file: Annotated[str, Meta(description="RecommenderModel file (YAML) this process serves.")] = ""
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")
    ] = "info"
    statsd: Annotated[
        str,
        Meta(
            pattern=r"^$|^.+:[1-9]\d{0,4}$",
            description="host:port of a statsd daemon to send metrics to; empty = none.",
        ),
    ] = ""

    kafka: Annotated[
        str, Meta(description="host:port of Kafka brokers, comma separated; empty = the embedded event log.")
    ] = ""
    kafka_properties_file: Annotated[
        str,
        Meta(
            description="File of librdkafka properties (name=value lines) for TLS and SASL; read again when"
            " the brokers refuse a login."
        ),
    ] = ""
    mongo_url: Annotated[
        str, Meta(description="mongodb:// URL; empty = the embedded stores. Needs a Redis URL too.")
    ] = ""
    mongo_url_file: Annotated[
        str, Meta(description="File that holds the MongoDB URL instead; read again when a login is refused.")
    ] = ""
    mongo_database: Annotated[str, Meta(min_length=1, description="Name of the MongoDB database.")] = "sluice"
    redis_url: Annotated[str, Meta(description="redis:// or rediss:// URL; empty = the embedded stores.")] = (
        ""
    )
    redis_url_file: Annotated[
        str, Meta(description="File that holds the Redis URL instead; read again at every connection.")
    ] = ""
    store: Annotated[
        str,
        Meta(
            description="Where snapshots lie: a folder or a URL such as s3://bucket/prefix; empty = below home."
        ),
    ] = ""

    @property
    def home_path(self) -> Path:
        """``home`` as a path."""
        return Path(self.home)

    @property
    def model_path(self) -> Path:
        """``model_file`` as a path; raises :class:`InvalidSetting` if it was not given."""
        if not self.model_file:
            raise InvalidSetting(f"{PREFIX}MODEL_FILE is not set; give a RecommenderModel file")
        return Path(self.model_file)


def read(kind: type[S], environment: Mapping[str, str]) -> S:
    """Return ``kind`` from ``SLUICE_*`` variables; raises :class:`InvalidSetting` naming variable and fix."""
    values = {
        field.name: environment[PREFIX + field.name.upper()]
        for field in msgspec.structs.fields(kind)
        if PREFIX + field.name.upper() in environment
    }
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, kind, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidSetting(f"{PREFIX}{name.upper()} is {value!r}: {error}; correct it") from error
    return msgspec.convert(values, kind, strict=False)


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make :func:`read` give ``settings`` back."""
    return {PREFIX + name.upper(): str(getattr(settings, name)) for name in settings.__struct_fields__}
