"""The tables of ``docs/reference/settings.md``, generated from the settings types of every process.

``python -m sluice_cli.settings_page`` writes them, ``--check`` exits 1 if they are not current.
"""

from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from sluice import generated
from sluice.settings import PREFIX, Settings
from sluice.web.server import ServerSettings
from sluice_cli.controller import ControllerSettings
from sluice_faiss.settings import FaissSettings
from sluice_operator.settings import OperatorSettings
from sluice_recommender.preparing import PrepareSettings
from sluice_recommender.settings import ApiSettings, ProfilesSettings
from sluice_trainer.settings import TrainerSettings

PAGE: Final = generated.Page(Path("docs/reference/settings.md"), "sluice_cli.settings_page")
SECTIONS: Final[dict[str, tuple[type[Settings], type[Settings] | None]]] = {
    "Every process": (Settings, None),
    "Whatever listens: `sluice-recommender api` and `sluice-faiss`": (ServerSettings, Settings),
    "`sluice-recommender api`": (ApiSettings, ServerSettings),
    "`sluice-recommender profiles`": (ProfilesSettings, Settings),
    "`sluice-recommender prepare`": (PrepareSettings, Settings),
    "`sluice-faiss`": (FaissSettings, ServerSettings),
    "`sluice-trainer`": (TrainerSettings, Settings),
    "`sluice-operator`": (OperatorSettings, Settings),
    "The local controller, which `sluice up` starts": (ControllerSettings, Settings),
}
"""Title → its settings type, and the type whose settings another section tells."""


def tables() -> str:
    """Return one section per settings type, with the settings it adds to its base."""
    return "\n".join(_section(title, *kinds) for title, kinds in SECTIONS.items())


def _section(title: str, kind: type[Settings], base: type[Settings] | None) -> str:
    told = set(base.__struct_fields__) if base else set()
    hints = get_type_hints(kind, include_extras=True)
    rows = [
        _row(field, hints[field.name]) for field in msgspec.structs.fields(kind) if field.name not in told
    ]
    return f"### {title}\n\n| variable | default | bounds | meaning |\n|---|---|---|---|\n{''.join(rows)}"


def _row(field: msgspec.structs.FieldInfo, hint: Any) -> str:
    metas = _metas(hint)
    meaning = next((meta.description for meta in metas if meta.description), "").replace("<", "\\<")
    bounds = ", ".join(word for meta in metas for word in _bounds(meta))
    return f"| `{PREFIX}{field.name.upper()}` | {_shown(field.default)} | {bounds} | {meaning} |\n"


def _metas(hint: Any) -> list[Meta]:
    if get_origin(hint) is not Annotated:
        return []
    inner, *metas = get_args(hint)
    return [*_metas(inner), *(meta for meta in metas if isinstance(meta, Meta))]


def _bounds(meta: Meta) -> list[str]:
    words = {"≥": meta.ge, ">": meta.gt, "≤": meta.le, "<": meta.lt}
    found = [f"{word} {bound:,}" for word, bound in words.items() if bound is not None]
    return found + ([f"`{meta.pattern.replace('|', chr(92) + '|')}`"] if meta.pattern else [])


def _shown(default: object) -> str:
    if default == "":
        return "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    generated.main(PAGE, tables())
