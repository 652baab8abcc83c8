"""A part of a checked document, and how its keys appear on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from onefold.documents.problems import check_values
from onefold.errors import RecipeError
from onefold.patterns import as_list
from onefold.weights.checksums import checksum, short
from onefold.weights.folders import all_pretrained


@dataclass(frozen=True)
class Flag:
    """How a key of a document appears on the command line.

    Attributes:
        name: the option without its dashes; None: the key itself; "": the prefix alone.
        short: a second spelling of one letter, such as "-o".
        prefix: of the options of the keys inside a part.
        panel: the heading of the option in the help, and of those inside a part.
        metavar: how a positional argument is shown; None: the key is an option.
        hidden: no option is made of the key.
        always: the option may be given beside a recipe file.
        needed: the option must be given where no recipe file is.
    """

    name: str | None = None
    short: str = ""
    prefix: str = ""
    panel: str = ""
    metavar: str | None = None
    hidden: bool = False
    always: bool = False
    needed: bool = False


def told_by(members: object, base: str | Path = ".") -> str | None:
    """The member that tells the network: the first one, if all are folders of `save_pretrained`.

    Args:
        members: what a document has under `members`, unchecked.
        base: the folder that paths are relative to.
    """
    listed = members if isinstance(members, list | tuple) else ()
    paths = [one.get("path") if isinstance(one, Mapping) else one for one in listed]
    named = [path for path in paths if isinstance(path, str)]
    whole = [os.path.join(base, os.path.expanduser(path)) for path in named]
    return named[0] if len(named) == len(listed) and all_pretrained(whole) else None


class Part(BaseModel):
    """A part of a recipe: unknown keys are refused, and types are not converted.

    `main`: the key that a plain value stands for, as in `polish: 3` for `polish: {passes: 3}`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
    main: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        """A plain value as that of the main key; YAML's lists as the tuples that are meant."""
        if cls.main is not None and isinstance(value, str | int | float):
            value = {cls.main: value}
        if not isinstance(value, Mapping):
            return value
        check_values(value)
        tuples = {name for name, key in cls.model_fields.items() if _is_tuple(key.annotation)}
        return {
            name: tuple(entry) if isinstance(entry, list) and name in tuples else entry
            for name, entry in value.items()
        }


def _is_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_is_tuple, get_args(annotation)))


def _several(value: object) -> object:
    return tuple(as_list(value) or ()) if isinstance(value, str) else value


NamePatterns = Annotated[tuple[str, ...] | None, BeforeValidator(_several)]  # one needs no list


class InputFile(Part):
    """A file that is read, and the SHA-256 of its bytes if it is to be checked."""

    main: ClassVar[str | None] = "path"
    path: str = Field(min_length=1)
    sha256: str | None = None

    def verify(self) -> str:
        """The SHA-256 of the file as it is now.

        Raises:
            RecipeError: another one is recorded. WeightsError: the file cannot be read.
        """
        found = checksum(self.path)
        if self.sha256 is not None and found != self.sha256:
            raise RecipeError(
                f"{self.path} is not the file that the recipe was made with: its SHA-256 begins"
                f" {found[:12]}, the recipe says {self.sha256[:12]}; get the original file, or"
                " delete the key 'sha256' to use this one."
            )
        return found

    def __str__(self) -> str:
        return f"{self.path}, SHA-256 {short(self.sha256)}"
