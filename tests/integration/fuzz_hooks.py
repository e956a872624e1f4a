"""Hooks of schemathesis: what is true of good requests and JSON Schema cannot say."""

import time
from urllib.parse import unquote

import schemathesis
from schemathesis import GenerationMode

DAY_MS = 86_400_000
MAX_BYTES, MAX_WORDS = 256, 16


@schemathesis.hook
def before_call(context, case, kwargs):
    """Make a request that should be taken one that is; leave those that should be refused alone."""
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        case.body = _mended(
            case.body, {name: unquote(value) for name, value in (case.path_parameters or {}).items()}
        )
        for name in {"filter", "exclude"} & set(case.query or ()):
            case.query[name] = ",".join(_mended(case.query[name].split(",")[:MAX_WORDS], {}))
        for name in {"If-Match", "If-None-Match"} & set(case.headers or ()):
            if not case.headers[name].endswith(('"', "*")):  # it generates "0" against the pattern
                case.headers[name] = f'"{case.headers[name]}"'


def _mended(body, path):
    """Ids fit in bytes, times are not ahead, filters name a word, a body names the id of its path."""
    if isinstance(body, list):
        return [_mended(each, path) for each in body]
    if isinstance(body, str):
        return body.encode()[:MAX_BYTES].decode(errors="ignore") or "x"
    if not isinstance(body, dict):
        return body
    mended = {name: _mended(value, path) for name, value in body.items()}
    mended |= {name: value for name, value in path.items() if name in body}
    if isinstance(body.get("ts"), int | float):
        mended["ts"] = min(body["ts"], int(time.time() * 1e3) + DAY_MS // 2)
    if isinstance(body.get("filter"), dict):
        mended["filter"] = _named(mended["filter"])
    return mended


def _named(filter_):
    words = {name: value[: MAX_WORDS // 3] for name, value in filter_.items()}
    return words if any(words.values()) else {"any": ["x"]}
