"""The recipe of a merge: a checked document that holds all a merge depends on, so that its result
can be made again bit for bit.

Relative paths in a recipe file are relative to the file's own folder, so that a folder with its
recipe can be moved as a whole. In memory they are absolute: `read` and `write` translate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from onefold.inference import Output
from onefold.patterns import as_list


class Part(BaseModel):
    """Unknown keys are refused; a recipe does not change once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _several(value: object) -> object:
    return as_list(value) if isinstance(value, str) else value


NamePatterns = Annotated[
    tuple[str, ...] | None, BeforeValidator(_several)
]  # one pattern may stand without a list


class InputFile(Part):
    """A file that the merge reads, and the SHA-256 of its bytes where it is to be checked."""

    path: str = Field(min_length=1)
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class DataPart(Part):
    """A named data source and the part of it to read.

    `samples`: at most so many examples (null: all); `skip`: after the first so many.
    """

    source: str = Field(min_length=1)
    split: Literal["train", "test"] = "train"
    samples: int | None = Field(default=4000, ge=1)
    skip: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=1)


class EvaluationPart(DataPart):
    """Labelled data to score the members, their ensemble, their plain average and the fold on."""

    split: Literal["train", "test"] = "test"
    samples: int | None = Field(default=None, ge=1)


class NetworkOutputPart(Part):
    """Which output of the networks is scored and distilled, by name or index, and the axis of its
    classes; null: found (onefold.inference).
    """

    select: int | str | None = None
    class_axis: int | None = None

    @property
    def output(self) -> Output:
        """The same for the library."""
        return Output(self.select, self.class_axis)


class Record(Part):
    """What a merge was made with; written, never needed.

    `data_sha256`: of the batches read. `result_sha256`: of the result file.
    """

    onefold: str
    torch: str
    numpy: str
    scipy: str
    python: str
    threads: int = Field(ge=1)
    data_sha256: str | None = None
    result_sha256: str | None = None


class Document(Part):
    """What every recipe is: the architecture `model`, and more.

    `command` carries it out; `again`: an output's name, as an example.
    """

    command: ClassVar[str]
    again: ClassVar[str] = "again.safetensors"
    model: str = Field(min_length=1)

    def further_paths(self, rename: Callable[[InputFile], InputFile]) -> dict[str, Any]:
        """The parts that hold other files than those of every recipe, with each of them renamed."""
        return {}


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
