"""The recipe of pruning: its keys are the arguments of `onefold.prune`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from onefold.documents.part import Flag, InputFile
from onefold.documents.settings import described_fields
from onefold.errors import SettingError
from onefold.fold import LeastSquares
from onefold.recipe.document import Job
from onefold.recipe.merge.document import PolishPart
from onefold.widths.budget import budget_of

SOLVED = described_fields(LeastSquares)
PRUNING = Flag(panel="How to prune")


class Recipe(Job):
    """One network of the architecture `model`, made narrower on `data`."""

    command: ClassVar[str] = "prune"
    noun: ClassVar[str] = "pruning"
    member_noun: ClassVar[str] = "network"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="CHECKPOINT | RECIPE.yaml")] = Field(
        min_length=1,
        max_length=1,
        description="One checkpoint (a file, or a folder of transformers), or one recipe (.yaml).",
    )
    width: Annotated[float | None, PRUNING] = Field(
        default=None, gt=0, le=1, description="The share of each group's units that stays, as 0.5."
    )
    budget: Annotated[str | None, PRUNING] = Field(
        default=None,
        description="What the result may cost: 0.5x of the multiply-adds, 0.5x parameters, or 2e6"
        " bytes; groups then lose unlike shares.",
    )
    rows: Annotated[int, PRUNING] = Field(
        default=LeastSquares.rows, ge=1, description=SOLVED["rows"]
    )
    ridge: Annotated[float | None, PRUNING] = Field(default=None, gt=0, description=SOLVED["ridge"])
    polish: Annotated[PolishPart, PRUNING] = Field(default=PolishPart(), description="")

    @field_validator("budget")
    @classmethod
    def _known(cls, budget: str | None) -> str | None:
        try:
            if budget is not None:
                budget_of(budget)
        except SettingError as error:
            raise ValueError(f"{error}".removesuffix(".")) from None
        return budget

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.width is None) == (self.budget is None):
            raise ValueError(
                "pruning needs one of {width} and {budget}: 0.5 keeps half of every group's units,"
                " 0.5x half of the multiply-adds"
            )
        if self.data is None:
            raise ValueError("pruning reads unlabelled examples, so give {data}")
        return self
