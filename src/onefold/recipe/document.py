"""The recipe of a merge: a checked document that holds all a merge depends on, so that its result can be made again bit for bit.

Relative paths in a recipe file are relative to the file's own folder, so that a folder with its recipe can be moved as a whole. In memory
they are absolute: `read` and `write` translate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from onefold.errors import RecipeError, nearest
from onefold.inference import Output
from onefold.patterns import as_list

HEADER = "# A recipe of onefold. Make its result again with: onefold {command} {name} -o {again}\n"
# keys that only the recipes of these commands have
COMMANDS = {"soft": ["soft"], "subspace": ["subspace"], "rounds": ["persist"], "training": ["subspace", "persist"]}
FOLDER_SOURCES = ("parquet", "idx", "imagefolder", "hf")  # sources whose name is followed by a path


class _Part(BaseModel):
    """Unknown keys are refused; a recipe does not change once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _several(value: object) -> object:
    return as_list(value) if isinstance(value, str) else value


NamePatterns = Annotated[tuple[str, ...] | None, BeforeValidator(_several)]  # one pattern may stand without a list


class InputFile(_Part):
    """A file that the merge reads, and the SHA-256 of its bytes where it is to be checked."""

    path: str = Field(min_length=1)
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class DataPart(_Part):
    """A named data source and the part of it to read. `samples`: at most so many examples (null: all); `skip`: after the first so many."""

    source: str = Field(min_length=1)
    split: Literal["train", "test"] = "train"
    samples: int | None = Field(default=4000, ge=1)
    skip: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=1)


class EvaluationPart(DataPart):
    """Labelled data to score the members, their ensemble, their plain average and the fold on."""

    split: Literal["train", "test"] = "test"
    samples: int | None = Field(default=None, ge=1)


class AlignPart(_Part):
    """How the members are aligned: a matcher, "none", or a saved alignment in `file`.

    method: null is cca, and where no parameter can be moved a warning; for a matcher that is named that is an error.
    """

    method: str | None = None
    file: InputFile | None = None
    reference: int = Field(default=0, ge=0)
    probe: Literal["auto", "pre", "post"] = "auto"
    regularisation: float | None = Field(default=None, ge=0)
    prior: float | None = Field(default=None, ge=0)
    max_positions: int | None = Field(default=None, ge=1)


class FoldPart(_Part):
    """How the aligned members become one network, how its statistics are repaired, and in how many passes it is distilled from their ensemble.

    target, rows, ridge: of least squares; null: its defaults. ensemble: what least squares and polish aim at; null: the mean of logits.
    class_shares: of "classes", those of the calibration data; null: even. until: the module up to which they are merged, or a share of the
    layers as 50%; null: all of it.
    """

    method: str = "average"
    weights: tuple[float, ...] | None = None
    repair: str = "auto"
    target: Literal["pruning", "correlation", "equal", "selection"] | None = None
    rows: int | None = Field(default=None, ge=1)
    ridge: float | None = Field(default=None, gt=0)
    ensemble: Literal["logits", "probabilities", "classes"] | None = None
    class_shares: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    polish: int = Field(default=0, ge=0)
    until: str | None = None


class NetworkOutputPart(_Part):
    """Which output of the networks is scored and distilled, by name or index, and the axis of its classes; null: found (onefold.inference)."""

    select: int | str | None = None
    class_axis: int | None = None

    @property
    def output(self) -> Output:
        """The same for the library."""
        return Output(self.select, self.class_axis)


class Record(_Part):
    """What a merge was made with; written, never needed. `data_sha256`: of the batches read. `result_sha256`: of the result file."""

    onefold: str
    torch: str
    numpy: str
    scipy: str
    python: str
    threads: int = Field(ge=1)
    data_sha256: str | None = None
    result_sha256: str | None = None


class Document(_Part):
    """What every recipe is: the architecture `model`, and more. `command` carries it out; `again`: an output's name, as an example."""

    command: ClassVar[str]
    again: ClassVar[str] = "again.safetensors"
    model: str = Field(min_length=1)


class Repeatable(Protocol):
    """What the batches and the bits of a recipe's result depend on."""

    @property
    def seed(self) -> int: ...
    @property
    def data(self) -> DataPart | None: ...
    @property
    def record(self) -> Record | None: ...


class Job(Document):
    """A recipe that folds: `members` of the architecture, `data`, and where the result goes."""

    members: tuple[InputFile, ...] = Field(min_length=2)
    data: DataPart | None = None
    evaluation: EvaluationPart | None = None
    network_output: NetworkOutputPart = NetworkOutputPart()
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"
    output: str | None = None
    html: str | None = None
    record: Record | None = None


class Recipe(Job):
    """A whole merge: `members` of the architecture `model`, aligned and folded on `data`, written to `output`.

    devices: how many processes share the calibration data, on which the last bits of sums depend.
    """

    command: ClassVar[str] = "merge"
    align: AlignPart = AlignPart()
    fold: FoldPart = FoldPart()
    barrier: bool = False
    devices: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.align.reference >= len(self.members):
            raise ValueError(f"align.reference is {self.align.reference}, but there are only {len(self.members)} members, counted from 0")
        if self.fold.weights is not None and len(self.fold.weights) != len(self.members):
            raise ValueError(f"fold.weights has {len(self.fold.weights)} numbers for {len(self.members)} members")
        if self.data is None and (self.align.method, self.fold.repair) != ("none", "none"):
            raise ValueError("aligning and repairing need calibration data, so give data, or set align.method and fold.repair to none")
        if self.data is None and self.fold.polish:
            raise ValueError("fold.polish needs calibration data, so give data, or leave polish out")
        if self.fold.until is not None and (self.data is None or self.fold.polish or self.fold.ensemble):
            raise ValueError("fold.until needs calibration data and takes no polish and no ensemble, so give data and leave these out")
        if self.fold.class_shares is not None and self.fold.ensemble != "classes":
            raise ValueError("fold.class_shares goes with fold.ensemble classes, so give that too, or leave the shares out")
        if (self.align.method == "saved") != (self.align.file is not None):
            raise ValueError("align.file goes with align.method saved, and the other way round")
        if self.barrier and self.evaluation is None:
            raise ValueError("a barrier needs labelled data, so give evaluation too")
        return self


Asked = TypeVar("Asked", bound=Document)


def read(path: str | Path) -> Recipe:
    """The recipe of a merge in the YAML file `path`; see `read_as`."""
    return read_as(Recipe, path)


def read_as(kind: type[Asked], path: str | Path) -> Asked:
    """The recipe of this kind in the YAML file `path`, with absolute paths.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or does not hold a valid recipe; the message names the file and the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} cannot be read: {getattr(error, 'strerror', None) or error}; check the path.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"The recipe {path} is no valid YAML{where}: {getattr(error, 'problem', None) or 'it cannot be parsed'}.") from error
    folder = path.resolve().parent
    others = next((commands for key, commands in COMMANDS.items() if isinstance(content, Mapping) and key in content), ["merge"])
    if isinstance(content, Mapping) and kind.command not in others:
        raise RecipeError(f"The recipe {path} is one of onefold {others[0]}; run: onefold {others[0]} {path}")
    return _with_paths(check_as(kind, content, f"The recipe {path}"), lambda name: os.path.normpath(folder / Path(name).expanduser()))


Checked = TypeVar("Checked", bound=_Part)


def check(content: object, what: str = "The recipe") -> Recipe:
    """`content`, as parsed from YAML or built from flags, as a Recipe.

    Raises:
        RecipeError: it is not one; the message starts with `what` and names the key.
    """
    return _checked(Recipe, content, what)


def check_as(kind: type[Asked], content: object, what: str) -> Asked:
    """`content` as a recipe of this kind; errors as `check`."""
    return _checked(kind, content, what)


def check_data(content: Mapping[str, object]) -> DataPart:
    """A data source and part by itself, as flags name it. Raises RecipeError where it is none."""
    return _checked(DataPart, content, "The data")


def _checked(kind: type[Checked], content: object, what: str) -> Checked:
    if not isinstance(content, Mapping):
        raise RecipeError(f"{what} holds {'nothing' if content is None else f'a {type(content).__name__}'}, not keys and values; see the README.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key explains a missing one
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(f"{what} has an unknown key '{key}'; {nearest(str(first['loc'][-1]), _fields(kind, first['loc'][:-1]))}") from None
        if first["type"] == "missing":
            raise RecipeError(f"{what} lacks the key '{key}'; add it.") from None
        plain = {"model_type": "it must hold keys and values", "too_short": f"it needs at least {first.get('ctx', {}).get('min_length')} entries"}
        reason = plain.get(first["type"], str(first["msg"])).removeprefix("Value error, ").rstrip(".")
        found = f" (found: {first['input']!r})" if key and isinstance(first["input"], str | int | float | None) else ""
        raise RecipeError(f"{what}{f', key {key!r}' if key else ''}: {reason[:1].lower() + reason[1:]}{found}.") from None


def text_of(recipe: Document, path: str | Path) -> str:
    """The YAML text of `recipe` for a file at `path`: the same recipe always gives the same bytes; paths relative to the file's folder."""
    path = Path(path)
    content = relative(recipe, path.resolve().parent).model_dump(mode="json")
    head = HEADER.format(command=recipe.command, name=path.name, again=recipe.again)
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)


def absolute(recipe: Asked, folder: str | Path | None = None) -> Asked:
    """`recipe` with its relative paths taken as relative to `folder` (default: the working folder)."""
    base = Path(folder or ".").resolve()
    return _with_paths(recipe, lambda name: os.path.normpath(base / Path(name).expanduser()))


def relative(recipe: Asked, folder: str | Path) -> Asked:
    """`recipe` with its absolute paths as seen from `folder`."""
    return _with_paths(recipe, lambda name: os.path.relpath(name, folder))


def _fields(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The known keys at a place in the document."""
    for part in location:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _inner(kind.model_fields[part].annotation) or kind
    return list(kind.model_fields)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `DataPart | None` or `tuple[InputFile, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part))), None)


Part = TypeVar("Part", bound=DataPart)


def _with_paths(recipe: Asked, rename: Callable[[str], str]) -> Asked:
    """`recipe` with every path in it, also those inside model and data names, replaced by `rename(path)`."""

    def data(part: Part) -> Part:
        return part.model_copy(update={"source": _in_name(part.source, rename)})

    def file(part: InputFile) -> InputFile:
        return part.model_copy(update={"path": rename(part.path)})

    changed: dict[str, Any] = {"model": _in_name(recipe.model, rename)}
    changed |= {name: rename(path) for name in ("output", "html") if (path := getattr(recipe, name, None))}
    if isinstance(recipe, Job):
        changed["members"] = tuple(file(member) for member in recipe.members)
    changed |= {name: data(part) for name in type(recipe).model_fields if isinstance(part := getattr(recipe, name), DataPart)}
    if isinstance(recipe, Recipe) and recipe.align.file:
        changed["align"] = recipe.align.model_copy(update={"file": file(recipe.align.file)})
    return recipe.model_copy(update=changed)


def _in_name(name: str, rename: Callable[[str], str]) -> str:
    """Rename the path in `parquet:DIR?options`, `hf:DIR?options` or `FILE.py:factory?options`; other names hold none."""
    head, colon, tail = name.partition(":")
    if colon and head in FOLDER_SOURCES:
        path, mark, options = tail.partition("?")
        return f"{head}:{rename(path)}{mark}{options}"
    return f"{rename(head)}:{tail}" if colon and head.endswith(".py") else name
