"""The documents of recipes: all that a result depends on, so that its bits can be made again.

Every key has its name, type, default and description here and nowhere else: files are checked
against these classes, and the options of the commands are generated from them (`onefold.cli`).

Relative paths in a recipe file are relative to the file's own folder, so that a folder with its
recipe can be moved as a whole. In memory they are absolute: `read_as` and `text_of` translate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.documents.part import Flag, InputFile, NamePatterns, Part
from onefold.documents.record import Record
from onefold.inference import Output
from onefold.recipe.scoring import ScoringPart
from onefold.result_reports.provenance import Fact, Provenance
from onefold.weights.selection import Selection


class ReadingPart(Part):
    """The part of every member's file that is read (onefold.weights.Selection)."""

    entry: str | None = Field(
        default=None,
        description="The entry of the files that is the state dict, as model_ema or ema.module;"
        " left out, the one of a usual name.",
    )
    prefix: str | None = Field(
        default=None,
        description="Take only the names that begin so, without it, as backbone.; the network's"
        " own names tell prefixes of all names.",
    )
    keys: NamePatterns = Field(
        default=None, description="Take only the names that match; may be repeated."
    )
    drop: NamePatterns = Field(
        default=None, description="Leave out the names that match; may be repeated."
    )

    @property
    def selection(self) -> Selection:
        """The same for the library."""
        return Selection(self.entry, self.prefix, self.keys, self.drop)

    def __str__(self) -> str:
        asked = {name: getattr(self, name) for name in type(self).model_fields}
        return ", ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(value)}"
            for name, value in asked.items()
            if value is not None
        )


READING = Flag(panel="What to read of the files")


class DataPart(Part):
    """A named data source and the part of it to read."""

    main: ClassVar[str | None] = "source"
    source: Annotated[str, Flag(name="data")] = Field(
        min_length=1,
        description="A source, such as imagefolder:DIR, masks:DIR, numpy:FILE.npz, csv:FILE,"
        " text:FILE or file.py:load (your own function); `onefold methods 'data source'` lists all,"
        " and `onefold methods csv:` tells what one gives and takes.",
    )
    split: Literal["train", "test"] = Field(default="train", description="The split that is read.")
    samples: int | None = Field(default=4000, ge=1, description="Read at most so many examples.")
    skip: int = Field(default=0, ge=0, description="Leave out the first so many examples.")
    batch_size: int = Field(default=128, ge=1, description="Examples in a batch.")

    def __str__(self) -> str:
        after = f" after the first {self.skip:,}" if self.skip else ""
        return f"{self.source}, {self.split} split{after}, in batches of {self.batch_size}"


class EvaluationPart(DataPart):
    """Labelled data to score on; the source is that of `data` unless another is named."""

    split: Literal["train", "test"] = Field(
        default="test", description="The split that is scored on."
    )
    samples: int | None = Field(
        default=None, ge=1, description="Score on at most so many examples."
    )


class NetworkOutputPart(Part):
    """Which output of the networks is scored and distilled; null: found (onefold.inference)."""

    main: ClassVar[str | None] = "select"
    select: Annotated[int | str | None, Flag(name="network-output")] = Field(
        default=None, description="A name or an index, if the networks return several outputs."
    )
    class_axis: int | None = Field(
        default=None, description="The axis of the classes (1 or -1), if labels do not tell it."
    )

    @property
    def output(self) -> Output:
        """The same for the library."""
        return Output(self.select, self.class_axis)


SCORING = Flag(prefix="eval-", panel="How to score")
ASKED = Flag(panel="How to score")


class Request(Part):
    """What every command of networks and data takes: an architecture, and files to load first."""

    noun: ClassVar[str]  # the command's work in messages: "The {noun} has an unknown key ..."
    command: ClassVar[str]
    model: str = Field(
        min_length=1,
        description="The architecture: a built-in, file.py:build (your own function), timm:NAME,"
        " torchvision:NAME or hf:FOLDER; `onefold methods 'model source'` tells more. Members that"
        " are folders of transformers tell it themselves.",
    )
    use: Annotated[tuple[InputFile, ...], Flag(always=True)] = Field(
        default=(),
        description="Python files that register matchers, folds or data sources; loaded first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _same_source(cls, value: Any) -> Any:
        """Parts of labelled data that name no source read that of `data`."""
        if not isinstance(value, Mapping):
            return value
        data = value.get("data")
        source = data.get("source") if isinstance(data, Mapping) else data
        changed = {
            name: {"source": source, **value[name]}
            for name in ("evaluation", "validation", "held_out")
            if isinstance(value.get(name), Mapping) and isinstance(source, str)
        }
        return {**value, **changed}


class Document(Request):
    """What every recipe holds."""

    again: ClassVar[str] = "again.safetensors"  # an output's name, as an example
    seed: int = Field(default=0, ge=0, lt=2**32, description="The seed of everything random.")
    device: str = Field(default="cpu", description="cpu, cuda or cuda:N.")
    output: Annotated[str | None, Flag(short="-o", always=True, needed=True)] = Field(
        default=None,
        description="The checkpoint to write (.safetensors); of members that are folders any other"
        " name is that of a folder like theirs.",
    )
    record: Annotated[Record | None, Flag(hidden=True)] = None

    def facts(self) -> dict[str, Fact]:
        """What goes in and what is asked for, as a report tells it."""
        return {"architecture": self.model}

    def origin(self, files: Mapping[str, str] | None = None) -> Provenance:
        """All that a report tells of this recipe.

        Args:
            files: file -> SHA-256 of the networks that were written, if the report tells them.
        """
        run: dict[str, Fact] = {
            f"file of methods {k}": str(file) for k, file in enumerate(self.use)
        }
        threads = self.record.threads if self.record else None
        run |= {"seed": self.seed, "device": self.device, "threads": threads}
        return Provenance(self.facts(), run, self.model_dump(mode="json"), files or {})


def told(part: DataPart | None) -> str:
    """A data source and the part of it that is read, as a report tells it."""
    return "none" if part is None else str(part)


class Job(Document):
    """A recipe that makes one network of `members` of one architecture."""

    member_noun: ClassVar[str] = "member"  # its file and its data, in reports
    data_noun: ClassVar[str] = "calibration data"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="MEMBERS... | RECIPE.yaml")] = Field(
        min_length=2,
        description="Two or more checkpoints (files, or folders of transformers), or one recipe"
        " (.yaml).",
    )
    reading: Annotated[ReadingPart, READING] = ReadingPart()
    data: DataPart | None = Field(
        default=None, description="Calibration data; labels serve only folds that choose by them."
    )
    evaluation: Annotated[EvaluationPart | None, SCORING] = Field(
        default=None, description="Labelled data to score on; given any of these, scores are taken."
    )
    network_output: Annotated[NetworkOutputPart, Flag(panel="How to score")] = Field(
        default=NetworkOutputPart(), description="The output that is scored."
    )
    scoring: Annotated[ScoringPart, ASKED] = ScoringPart()
    html: Annotated[str | None, Flag(name="report", panel="How to score", always=True)] = Field(
        default=None, description="Also write a report to read (.html)."
    )

    @property
    def paths(self) -> list[str]:
        """The files of the members."""
        return [member.path for member in self.members]

    def facts(self) -> dict[str, Fact]:
        """The architecture, the files of the members, and the data."""
        files = {f"{self.member_noun} {k}": str(file) for k, file in enumerate(self.members)}
        data = {self.data_noun: told(self.data), "evaluation data": told(self.evaluation)}
        part: dict[str, Fact] = (
            {"part of the files": str(self.reading)} if str(self.reading) else {}
        )
        return {**super().facts(), **files, **part, **data, **self.scoring.facts()}
