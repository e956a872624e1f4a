"""What a Faiss pod says about itself: the answer of its ``GET /v1/snapshots``."""

import msgspec

from sluice_operator.rollout.observation import Pod


class _Loaded(msgspec.Struct):
    id: str


class _Refused(msgspec.Struct):
    id: str
    reason: str


class _Report(msgspec.Struct):
    wanted: list[str]
    loaded: list[_Loaded]
    refused: list[_Refused]
    headroom_bytes: int | None = None
    source: str | None = None


def reported(name: str, answer: bytes, *, serving: bool = True) -> Pod:
    """Return a pod as it reports itself; it is ready if it holds all that it wants and ``serving`` is true.

    Raises :class:`msgspec.DecodeError` for what is no report.
    """
    report = msgspec.json.decode(answer, type=_Report)
    loaded = frozenset(each.id for each in report.loaded)
    return Pod(
        name=name,
        ready=serving and set(report.wanted) <= loaded,
        loaded=loaded,
        refused={each.id: each.reason for each in report.refused},
        headroom_bytes=report.headroom_bytes,
        wanted=frozenset(report.wanted),
        source=report.source,
    )
