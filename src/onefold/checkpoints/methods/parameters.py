"""What a method can be told: names, defaults and ranges, declared once.

A parameter is either a setting of the whole method (a field of its dataclass, made by `setting`) or
belongs to each model (listed in `Method.per_model`). Documents, commands and Python read the same
declarations.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from onefold.errors import shown

Value = float | bool | None
KINDS = {float: "a number", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: the name in documents.
        default: the value if none is given. None stands for "not set".
        required: a value must be given.
        low: the least value.
        high: the greatest value.
        scalar_kind: float, int or bool.
        help: what it does, in one sentence.
        used: the method reads it. False: it is accepted for the sake of existing documents, and
            has no effect.
        field: the attribute of the method that holds it; empty for parameters of models.
    """

    name: str
    default: Value = None
    required: bool = False
    low: float = -math.inf
    high: float = math.inf
    scalar_kind: type = float
    help: str = ""
    used: bool = True
    field: str = ""

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, as the end of a sentence that begins with the name.

        Args:
            value: one scalar. None is right where the default is None.

        Returns:
            Such as "is 1.5; it must be between 0 and 1", or None if nothing is wrong.
        """
        if value is None:
            return None if self.default is None and not self.required else "has no value"
        if self.scalar_kind is bool:
            return None if isinstance(value, bool) else f"is {shown(value)}, not true or false"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"is {shown(value)}, not {KINDS[self.scalar_kind]}"
        if not math.isfinite(value):
            return f"is {value}; it must be finite"
        if self.scalar_kind is int and value != int(value):
            return f"is {value}, not a whole number"
        if not self.low <= value <= self.high:
            return f"is {value}; it must be {self.range}"
        return None

    @property
    def range(self) -> str:
        """The range in words, such as "between 0 and 1"; "any number" if there is none."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "any number"
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        if math.isinf(self.low):
            return f"at most {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"


def setting(
    default: Value = None,
    *,
    name: str = "",
    required: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
    kind: type = float,
    help: str = "",
    used: bool = True,
) -> Any:
    """A field of a method's dataclass that is a setting of the whole method.

    Args:
        default: the value if none is given; left out of the field if `required`.
        name: the name in documents, if it is not the field's.
        required: a value must be given.
        low: the least value.
        high: the greatest value.
        kind: float, int or bool.
        help: what it does, in one sentence.
        used: False if the setting is accepted and has no effect.
    """
    parameter = Parameter(name, default, required, low, high, kind, help, used)
    told = dataclasses.MISSING if required else default
    field: Any = dataclasses.field(default=told, kw_only=True, metadata={"parameter": parameter})
    return field


def settings_of(method: type) -> tuple[Parameter, ...]:
    """The settings of a method, in the order of its fields.

    Args:
        method: a dataclass whose fields were made by `setting`.
    """
    found = []
    for field in dataclasses.fields(method):
        parameter = field.metadata.get("parameter")
        if parameter is not None:
            name = parameter.name or field.name
            found.append(dataclasses.replace(parameter, name=name, field=field.name))
    return tuple(found)


WEIGHT = Parameter("weight", required=True, help="The share of this model.")
DENSITY = Parameter("density", 1.0, low=0.0, high=1.0, help="The share of changes that is kept.")
