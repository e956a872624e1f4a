"""Settings of ``sluice-faiss``."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sluice import models
from sluice.entities import CAPACITY
from sluice.errors import InvalidSetting
from sluice.web.server import ServerSettings


class FaissSettings(ServerSettings, frozen=True, kw_only=True):
    """Where the wanted snapshots are named, where they come from and where the copies go."""

    model: Annotated[
        str, Meta(description="<namespace>.<name> of the model; empty takes the model file's.")
    ] = ""
    source: Annotated[
        str, Meta(description="Source whose items and users are followed; empty takes the model file's.")
    ] = ""
    overlay_items: Annotated[
        int, Meta(ge=1, description="So many items (and forgotten users) the overlay of a worker knows.")
    ] = CAPACITY
    wanted_file: Annotated[
        str,
        Meta(
            description="File naming the wanted snapshots; [] in it = nothing is wanted, absent or empty = see"
            " SLUICE_STABLE_FILE."
        ),
    ] = ""
    stable_file: Annotated[
        str,
        Meta(
            description="File naming what is wanted while the wanted file is absent or empty; may be absent"
            " itself = nothing."
        ),
    ] = ""
    memory_bytes: Annotated[
        int, Meta(ge=0, description="Bytes this pod's snapshots may take together; 0 = what the machine has.")
    ] = 0
    cache: Annotated[
        str, Meta(description="Folder for this pod's copies, never shared; empty = below home.")
    ] = ""

    @property
    def model_key(self) -> str:
        """The model's key; raises :class:`InvalidSetting` if neither model nor model file is given."""
        if self.model:
            return self.model
        if not self.model_file:
            raise InvalidSetting(
                "SLUICE_MODEL is empty; set it to <namespace>.<name> or set SLUICE_MODEL_FILE"
            )
        return models.load(Path(self.model_file)).key

    @property
    def source_name(self) -> str:
        """The source; raises :class:`InvalidSetting` if neither source nor model file is given."""
        if self.source:
            return self.source
        if not self.model_file:
            raise InvalidSetting(
                "SLUICE_SOURCE is empty; set it to the model's source or set SLUICE_MODEL_FILE"
            )
        return models.load(Path(self.model_file)).spec.source.name

    @property
    def wanted_path(self) -> Path:
        """The wanted file; raises :class:`InvalidSetting` if none is named."""
        if not self.wanted_file:
            raise InvalidSetting("SLUICE_WANTED_FILE is empty; set it to the file that names the snapshots")
        return Path(self.wanted_file)

    @property
    def stable_path(self) -> Path | None:
        """``stable_file`` as a path."""
        return Path(self.stable_file) if self.stable_file else None

    @property
    def cache_path(self) -> Path:
        """The folder of the copies."""
        return Path(self.cache) if self.cache else self.home_path / "cache" / f"faiss-{self.listen_port}"
