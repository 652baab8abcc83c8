"""What the recipes of networks that are trained share: the data, how to train, and where the
results go.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.recipe.document import DataPart, Document, EvaluationPart, Part, Record


class TrainingData(DataPart):
    """Labelled examples to train on, all of them by default.

    `batch_size`: of a step, shared among the processes.
    """

    samples: int | None = Field(default=None, ge=1)


class TrainingPart(Part):
    """How it is trained: SGD under a cosine. warm_up: epochs in which the rate rises; null takes a
    tenth of all, at most 5.
    """

    epochs: int = Field(ge=1)
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    warm_up: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    augment: Literal["none", "flip-crop"] = "none"
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] = "32-true"
    devices: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingPart:
        if self.warm_up is not None and self.warm_up >= self.epochs:
            raise ValueError(
                f"a warm-up of {self.warm_up:g} epochs leaves nothing of {self.epochs} to train in"
            )
        return self


class TrainedRecipe(Document):
    """A whole run. `output` is a folder; record.result_sha256 is that of the file `main` in it."""

    again: ClassVar[str] = "again"
    main: ClassVar[str]
    data: TrainingData
    training: TrainingPart
    evaluation: EvaluationPart | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = "cpu"
    output: str | None = None
    record: Record | None = None

    @model_validator(mode="after")
    def _trainable(self) -> TrainedRecipe:
        if self.data.batch_size < self.training.devices:
            raise ValueError(
                f"batches of {self.data.batch_size} cannot be shared by {self.training.devices}"
                " processes; enlarge data.batch_size"
            )
        if self.training.precision == "16-mixed" and self.device == "cpu":
            raise ValueError(
                "training.precision 16-mixed needs a GPU; take bf16-mixed or 32-true on a CPU"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """All that decides the result, as plain data: everything but where it goes and what it was
        made with.
        """
        return self.model_dump(mode="json", exclude={"output", "record"})
