"""The keys that the recipes of trained networks share: the data, and how to train."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.documents.part import Flag, Part
from onefold.explore.training import Training, warm_up_of
from onefold.recipe.document import ASKED, SCORING, DataPart, Document, EvaluationPart, told
from onefold.recipe.scoring import ScoringPart
from onefold.result_reports.provenance import Fact, settings_facts

TRAINING = Flag(panel="How to train")
PRECISIONS = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]


class TrainingData(DataPart):
    """Labelled examples to train on, all of them by default."""

    samples: int | None = Field(default=None, ge=1, description="Read at most so many examples.")
    batch_size: Annotated[int, TRAINING] = Field(
        default=128, ge=1, description="Examples in a step, shared among the processes."
    )


class TrainingPart(Part):
    """The settings of SGD under a cosine."""

    main: ClassVar[str | None] = "epochs"
    epochs: int = Field(ge=1, description="Passes over the data, for each network.")
    lr: float = Field(default=0.1, gt=0, description="The highest learning rate.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="The momentum of SGD.")
    weight_decay: float = Field(default=1e-4, ge=0, description="The weight decay of SGD.")
    warm_up: float | None = Field(
        default=None,
        ge=0,
        description="Epochs in which the rate rises; left out, a tenth of all, at most 5.",
    )
    augment: Literal["none", "flip-crop"] = Field(
        default="none", description="Flip and crop images at random."
    )
    precision: PRECISIONS = Field(default="32-true", description="The precision of training.")
    devices: int = Field(default=1, ge=1, description="Processes, one on each device.")

    @model_validator(mode="after")
    def _consistent(self) -> TrainingPart:
        if self.warm_up is not None and self.warm_up >= self.epochs:
            raise ValueError(
                f"a warm-up of {self.warm_up:g} epochs leaves nothing of {self.epochs} to train in;"
                " give {training.warm_up} fewer"
            )
        return self

    def of(self, steps: int) -> Training:
        """The same for the library, for epochs of so many steps."""
        names = ("epochs", "lr", "momentum", "weight_decay", "warm_up")
        return Training(steps=steps, **{name: getattr(self, name) for name in names})


class TrainedRecipe(Document):
    """A whole run. `output` is a folder; record.result_sha256 is of the file `result` in it."""

    again: ClassVar[str] = "again"
    result: ClassVar[str]
    data: TrainingData = Field(description="Labelled data to train on.")
    training: Annotated[TrainingPart, TRAINING]
    evaluation: Annotated[EvaluationPart | None, SCORING] = Field(
        default=None, description="Labelled data to score on; given any of these, scores are taken."
    )
    scoring: Annotated[ScoringPart, ASKED] = ScoringPart()
    seed: int = Field(default=0, ge=0, lt=2**32, description="The seed of everything random.")
    device: str = Field(
        default="cpu", description="cpu, cuda, cuda:N, or auto: cuda if there is one."
    )
    output: Annotated[str | None, Flag(short="-o", always=True, needed=True)] = Field(
        default=None, description="The folder to write into."
    )

    @model_validator(mode="after")
    def _trainable(self) -> TrainedRecipe:
        if self.data.batch_size < self.training.devices:
            raise ValueError(
                f"batches of {self.data.batch_size} cannot be shared by {self.training.devices}"
                " processes; enlarge {data.batch_size}"
            )
        if self.training.precision == "16-mixed" and self.device == "cpu":
            raise ValueError(
                "{training.precision} 16-mixed needs a GPU; take bf16-mixed or 32-true on a CPU"
            )
        return self

    def facts(self) -> dict[str, Fact]:
        """The architecture, the data, and how the networks are trained."""
        training = settings_facts(self.training.model_dump())
        warm_up = warm_up_of(self.training.epochs, self.training.warm_up)
        return {
            **super().facts(),
            "training data": str(self.data),
            "evaluation data": told(self.evaluation),
            **self.scoring.facts(),
            "examples in a step": self.data.batch_size,
            **training,
            "warm up": warm_up,
        }

    def settings(self) -> dict[str, Any]:
        """All that decides the result, as plain data."""
        return self.model_dump(mode="json", exclude={"output", "record"})
