"""Reads ``spec.algorithm.parameters`` into a learner's typed parameters."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from sluice import conversion
from sluice.errors import InvalidModel
from sluice.model import Scalar

P = TypeVar("P", bound=msgspec.Struct)


def read(parameters: Mapping[str, Scalar], kind: type[P]) -> P:
    """Return ``parameters`` as ``kind`` (camelCase on the wire, decimals as strings, unknown names refused)."""
    try:
        return msgspec.convert(dict(parameters), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        wrong = conversion.problems(dict(parameters), kind, strict=False)
        raise InvalidModel(
            [
                f"spec.algorithm.parameters: {problem}; the parameters are {known or 'none'}"
                for problem in wrong
            ]
        ) from error
