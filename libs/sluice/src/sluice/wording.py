"""What msgspec found wrong, in words for people: one sentence with the field and what it must be. Pure."""

import functools
import re
from typing import Any, Final

import msgspec
from msgspec import inspect

_WHERE: Final = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"field `(?P<name>[^`]*)`")
_STEP: Final = re.compile(r"\[(?:\.\.\.|\d+)\]|\.?[^.\[]+")


def sentence(error: msgspec.ValidationError, kind: Any, root: str = "the body") -> str:
    """Return why a value is no ``kind``, e.g. ``n must be a whole number from 1 to 1000``.

    ``root`` names the value itself.
    """
    found = _WHERE.match(str(error))
    assert found is not None  # the pattern matches every text
    path = (found["path"] or "").removeprefix(".")
    named = _FIELD.search(found["problem"])
    if named is not None:
        field = f"{path}.{named['name']}" if path else named["name"]
        if "missing" in found["problem"]:
            return f"{field} is missing; add it"
        return f"{field} is unknown; leave it out"
    return f"{path.replace('[...]', '[]') or root} must be {describe(_at(_info(kind), path))}; correct it"


@functools.lru_cache(maxsize=64)
def _info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _at(info: inspect.Type, path: str) -> inspect.Type:
    """Return the type at a path such as ``recent[...].ts``."""
    for step in _STEP.findall(path):
        info = _inside(_without_null(info), step.removeprefix("."))
    return info


def _inside(info: inspect.Type, step: str) -> inspect.Type:
    if isinstance(info, inspect.StructType):
        return next((each.type for each in info.fields if each.encode_name == step), inspect.AnyType())
    if isinstance(info, inspect.DictType):
        return info.value_type
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        return info.item_type
    return inspect.AnyType()


def _without_null(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.UnionType):
        return next(each for each in info.types if not isinstance(each, inspect.NoneType))
    return info


def describe(info: inspect.Type) -> str:
    """Return what a value of this type is, e.g. ``a list of at most 50 strings``."""
    match info:
        case inspect.UnionType():
            return " or ".join(describe(each) for each in info.types)
        case inspect.IntType():
            return "a whole number" + _range(info.ge, info.le)
        case inspect.FloatType():
            return "a number" + _range(info.ge, info.le)
        case inspect.StrType():
            return "a string" + _length(info.min_length, info.max_length, "characters")
        case inspect.ListType() | inspect.VarTupleType():
            return _list(info)
        case inspect.LiteralType():
            return " or ".join(f'"{each}"' for each in info.values)
    return _PLAIN.get(type(info), "of another kind")


_PLAIN: Final[dict[type, str]] = {
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
    inspect.DictType: "an object",
    inspect.StructType: "an object",
}
_MANY: Final[dict[type, str]] = {
    inspect.StrType: "strings",
    inspect.IntType: "whole numbers",
    inspect.FloatType: "numbers",
    inspect.StructType: "objects",
}


def _list(info: inspect.ListType | inspect.VarTupleType) -> str:
    many = _MANY.get(type(info.item_type), "values")
    if info.max_length is None:
        return f"a list of {many}"
    least = f"{info.min_length} to" if info.min_length else "at most"
    return f"a list of {least} {info.max_length} {many}"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _length(low: int | None, high: int | None, of: str) -> str:
    if high is None:
        return f" of at least {low} {of}" if low else ""
    return f" of {low or 0} to {high} {of}"
