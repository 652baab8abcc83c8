"""The recipe of persistent rounds: all that their networks depend on."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.documents.part import Flag, NamePatterns, Part
from onefold.recipe.document import DataPart
from onefold.recipe.training.document import TRAINING, TrainedRecipe, TrainingData
from onefold.result_reports.provenance import Fact, settings_facts

CHOOSING = Flag(prefix="val-", panel="How to choose the best round")


class RoundsPart(Part):
    """The arguments of PersistentTraining, the number of rounds, and the baselines."""

    main: ClassVar[str | None] = "number"
    number: Annotated[int, Flag(name="rounds")] = Field(
        default=4, ge=1, description="How many rounds."
    )
    scope: NamePatterns = Field(
        default=("all",), description="all, first, head, last:N, or patterns; may be repeated."
    )
    exclude: NamePatterns = Field(
        default=None, description="What matches is left out; may be repeated."
    )
    kernel: str = Field(
        default="gaussian",
        description="The repulsion: gaussian, inverse, hinge, cosine or function.",
    )
    strength: float = Field(
        default=1.0, ge=0, description="The weight of the repulsion; 10 for a poor start."
    )
    width: float = Field(default=1.0, gt=0, description="The reach of the kernel; 1 is the start.")
    anneal: tuple[float, float] = Field(
        default=(0.5, 0.75),
        description="The fractions of a round between which it fades, as 0.5,0.75.",
    )
    memory: int | None = Field(
        default=None, ge=1, description="Only so many of the last rounds repel; left out, all."
    )
    control: bool = Field(default=False, description="Random points repel: the uninformed control.")
    mirror: bool = Field(
        default=False, description="The reflection of the last solution repels, too."
    )
    order: Annotated[Literal["same", "new"], TRAINING] = Field(
        default="same", description="The order of the data in each round."
    )
    solutions: Literal["bfloat16", "float16", "float32"] | None = Field(
        default=None,
        description="The precision of earlier solutions while training; left out, exact.",
    )
    reference: int = Field(
        default=128, ge=1, description="Examples that the function kernel compares predictions on."
    )
    baselines: bool = Field(
        default=False, description="Also train as many restarts, and reruns that nothing repels."
    )

    def arguments(self) -> dict[str, Any]:
        """The settings that are arguments of PersistentTraining by their own names."""
        other = {"number", "scope", "order", "solutions", "reference", "baselines"}
        return self.model_dump(exclude=other)


class PersistRecipe(TrainedRecipe):
    """A whole run of persistent rounds; its main result is the best of them."""

    command: ClassVar[str] = "persist"
    noun: ClassVar[str] = "run"
    result: ClassVar[str] = "best.safetensors"
    rounds: Annotated[RoundsPart, Flag(panel="What repels")] = RoundsPart()
    validation: Annotated[TrainingData | None, CHOOSING] = Field(
        default=None,
        description="Labelled data to choose the best round by, instead of --held-out.",
    )
    held_out: Annotated[float, Flag(panel=CHOOSING.panel)] = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="The share of the training data to choose the best round by.",
    )

    @model_validator(mode="after")
    def _several(self) -> PersistRecipe:
        if self.rounds.baselines and self.rounds.number < 2:
            raise ValueError(
                "one round has nothing to be compared with; give {rounds.number} 2 or more, or"
                " leave {rounds.baselines} out"
            )
        if self.validation is not None and _overlap(self.data, self.validation):
            raise ValueError(
                "validation examples are among those trained on; give {validation.skip} or"
                " {data.samples} so that they are not"
            )
        return self

    def facts(self) -> dict[str, Fact]:
        """What every training tells, the data to choose by, and the settings of the rounds."""
        share = f"a share of {self.held_out:g} of the training data"
        validation = {"validation data": str(self.validation) if self.validation else share}
        rounds = settings_facts(self.rounds.model_dump(exclude={"reference"}))
        return {**super().facts(), **validation, **rounds}


def _overlap(a: DataPart, b: DataPart) -> bool:
    """Whether two parts of one source and split have examples in common."""
    first, second = sorted((a, b), key=lambda part: part.skip)
    return (a.source, a.split) == (b.source, b.split) and (
        first.samples is None or first.skip + first.samples > second.skip
    )
