"""The recipe of a soft merge: all that learned gates depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.documents.part import Flag, NamePatterns, Part
from onefold.recipe.document import DataPart, Job
from onefold.result_reports.provenance import Fact, settings_facts

GATING, LEARNING = Flag(panel="What to gate"), Flag(panel="How to learn")
BATCH = Annotated[int, Flag(hidden=True)]  # --batch-size is that of the steps


class LabelledPart(DataPart):
    """Labelled examples that no member was trained on."""

    samples: int | None = Field(
        default=500, ge=1, description="Learn from at most so many examples."
    )
    batch_size: BATCH = Field(default=128, ge=1, description="Examples in a batch.")


class HeldOutPart(LabelledPart):
    """Labelled examples to choose on; by default those behind the ones learned from."""

    main: ClassVar[str | None] = "samples"
    samples: Annotated[int | None, Flag(name="")] = Field(
        default=500, ge=1, description="Choose on so many examples."
    )
    batch_size: BATCH = Field(default=128, ge=1, description="Examples in a batch.")


class SoftPart(Part):
    """How gates are placed and learned: the arguments of SoftMerge and fit_gates."""

    level: Annotated[Literal["model", "module", "layer"], GATING] = Field(
        default="layer", description="The parts of a network that have a gate each."
    )
    include: Annotated[NamePatterns, GATING] = Field(
        default=None, description="Gate only what matches; may be repeated."
    )
    exclude: Annotated[NamePatterns, GATING] = Field(
        default=None, description="Leave what matches as in the reference; may be repeated."
    )
    align: Annotated[str, GATING] = Field(
        default="auto", description="auto, none, or a matcher's name."
    )
    reference: Annotated[int | Literal["best"], GATING] = Field(
        default="best", description="A member's number, or best."
    )
    normalize: Annotated[bool, GATING] = Field(
        default=True, description="Divide gates by their sum."
    )
    stochastic: Annotated[bool | Literal["auto"], GATING] = Field(
        default="auto",
        description="Draw gates at random while they are learned: true, false or auto.",
    )
    screen: Annotated[bool, GATING] = Field(default=True, description="Leave out unfit members.")
    outputs: Annotated[Literal["logits", "probabilities"], GATING] = Field(
        default="logits", description="The outputs that are summed at level model."
    )
    steps: Annotated[int, LEARNING] = Field(default=300, ge=1, description="Steps of training.")
    lr: Annotated[float, LEARNING] = Field(default=0.1, gt=0, description="The rate of Adam.")
    penalty: Annotated[float, LEARNING] = Field(
        default=0.01, ge=0, description="The weight of the gates' penalty."
    )
    batch_size: Annotated[int, LEARNING] = Field(
        default=128, ge=1, description="Examples in a step."
    )
    share: Annotated[float, LEARNING] = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="The share of the data to choose on, if none is held out.",
    )
    fallback: Annotated[bool, LEARNING] = Field(
        default=True, description="Return the best member or the aligned average if it is better."
    )

    def arguments(self, panel: Flag) -> dict[str, Any]:
        """The settings that are shown under this heading, as arguments."""
        fields = type(self).model_fields.items()
        return {name: getattr(self, name) for name, key in fields if panel in key.metadata}


class SoftRecipe(Job):
    """A whole soft merge."""

    command: ClassVar[str] = "soft"
    noun: ClassVar[str] = "soft merge"
    member_noun: ClassVar[str] = "file of member"  # the gates have facts on members, too
    data_noun: ClassVar[str] = "labelled data"
    data: LabelledPart = Field(description="Labelled data that no member was trained on.")
    held_out: Annotated[HeldOutPart | None, Flag(prefix="held-out-", panel="How to learn")] = Field(
        default=None, description="Labelled data to choose on; left out, a share of the data is."
    )
    soft: SoftPart = SoftPart()

    @model_validator(mode="before")
    @classmethod
    def _behind(cls, value: Any) -> Any:
        """Held-out examples of no other place are those behind the examples learned from."""
        held_out = value.get("held_out") if isinstance(value, Mapping) else None
        if isinstance(held_out, int) and not isinstance(held_out, bool):
            held_out = {"samples": held_out}
        data = value.get("data") if isinstance(value, Mapping) else None
        data = {"source": data} if isinstance(data, str) else data
        if not (isinstance(held_out, Mapping) and isinstance(data, Mapping)):
            return value
        skip, samples = data.get("skip", 0), data.get("samples", 500)
        same = {"source": data.get("source"), "split": data.get("split", "train")}
        if (
            isinstance(skip, int)
            and isinstance(samples, int)
            and same.items() <= ({**same, **held_out}).items()
        ):
            held_out = {**same, "skip": skip + samples, **held_out}
        return {**value, "held_out": held_out}

    @model_validator(mode="after")
    def _consistent(self) -> SoftRecipe:
        patterns, reference = (self.soft.include, self.soft.exclude), self.soft.reference
        if self.soft.level == "model" and patterns != (None, None):
            raise ValueError(
                "{soft.include} and {soft.exclude} name parts of a network, and at {soft.level}"
                " model there are none"
            )
        if isinstance(reference, int) and not 0 <= reference < len(self.members):
            raise ValueError(
                f"{{soft.reference}} is {reference}, but there are only {len(self.members)}"
                " members, counted from 0"
            )
        return self

    def facts(self) -> dict[str, Fact]:
        """What every job tells, the data to choose on, and the settings of the gates."""
        share = f"a share of {self.soft.share:g} of the labelled data"
        held_out = {"held-out data": str(self.held_out) if self.held_out else share}
        return {**super().facts(), **held_out, **settings_facts(self.soft.model_dump())}
