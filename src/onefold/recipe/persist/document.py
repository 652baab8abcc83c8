"""The recipe of persistent rounds: all that their networks depend on, so that the same bits can be
made again.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from onefold.recipe.document import DataPart, NamePatterns, Part
from onefold.recipe.training.document import TrainedRecipe, TrainingData


class RoundsPart(Part):
    """Which rounds: the arguments of PersistentTraining, their number, and what stands beside them.

    solutions: the precision in which they are kept while training; null is exact. reference: of the
    function kernel, how many training examples predictions are compared on. order: of the data in
    each round. baselines: as many restarts and reruns are trained too.
    """

    number: int = Field(default=4, ge=1)
    scope: NamePatterns = ("all",)
    exclude: NamePatterns = None
    kernel: str = "gaussian"
    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    width: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    anneal: tuple[float, float] = (0.5, 0.75)
    memory: int | None = Field(default=None, ge=1)
    control: bool = False
    mirror: bool = False
    order: Literal["same", "new"] = "same"
    solutions: Literal["bfloat16", "float16", "float32"] | None = None
    reference: int = Field(default=128, ge=1)
    baselines: bool = False


class PersistRecipe(TrainedRecipe):
    """A whole run of persistent rounds; its main result is the best of them.

    validation: labelled data that decides which round that is; null takes the share `held_out` of
    the training data, drawn at random by the seed, which is not trained on then.
    """

    command: ClassVar[str] = "persist"
    main: ClassVar[str] = "best.safetensors"
    rounds: RoundsPart = RoundsPart()
    validation: TrainingData | None = None
    held_out: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _several(self) -> PersistRecipe:
        if self.rounds.baselines and self.rounds.number < 2:
            raise ValueError(
                "one round has nothing to be compared with; give rounds.number 2 or more, or leave"
                " rounds.baselines out"
            )
        if self.validation is not None and _overlap(self.data, self.validation):
            raise ValueError(
                "validation examples are among those trained on; give validation.skip or"
                " data.samples so that they are not"
            )
        return self


def _overlap(a: DataPart, b: DataPart) -> bool:
    """Whether two parts of one source and split have examples in common."""
    first, second = sorted((a, b), key=lambda part: part.skip)
    return (a.source, a.split) == (b.source, b.split) and (
        first.samples is None or first.skip + first.samples > second.skip
    )
