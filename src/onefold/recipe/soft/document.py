"""The recipe of a soft merge: all that learned gates depend on, so that the same bits can be made
again.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.recipe.document import DataPart, Job, NamePatterns, Part


class LabelledPart(DataPart):
    """Labelled examples that no member was trained on, to learn gates from or to choose on."""

    samples: int | None = Field(default=500, ge=1)


class SoftPart(Part):
    """How gates are placed and learned: the arguments of SoftMerge and fit_gates."""

    level: Literal["model", "module", "layer"] = "layer"
    include: NamePatterns = None
    exclude: NamePatterns = None
    align: str = "auto"
    reference: int | Literal["best"] = "best"
    normalise: bool = True
    stochastic: bool | Literal["auto"] = "auto"
    screen: bool = True
    outputs: Literal["logits", "probabilities"] = "logits"
    steps: int = Field(default=300, ge=1)
    lr: float = Field(default=0.1, gt=0)
    penalty: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=128, ge=1)
    share: float = Field(default=0.3, gt=0, lt=1)
    fallback: bool = True

    def placement(self) -> dict[str, Any]:
        """The arguments of SoftMerge."""
        names = (
            "level",
            "include",
            "exclude",
            "align",
            "reference",
            "normalise",
            "stochastic",
            "screen",
            "outputs",
        )
        return {name: getattr(self, name) for name in names}

    def learning(self) -> dict[str, Any]:
        """The arguments of fit_gates."""
        return {
            name: getattr(self, name)
            for name in ("steps", "lr", "penalty", "batch_size", "share", "fallback")
        }


class SoftRecipe(Job):
    """A whole soft merge. held_out: examples to choose on; null takes a share of `data`."""

    command: ClassVar[str] = "soft"
    data: LabelledPart
    held_out: LabelledPart | None = None
    soft: SoftPart = SoftPart()

    @model_validator(mode="after")
    def _consistent(self) -> SoftRecipe:
        if self.soft.level == "model" and (
            self.soft.include is not None or self.soft.exclude is not None
        ):
            raise ValueError(
                "soft.include and soft.exclude name parts of a network, and at level model there"
                " are none"
            )
        if isinstance(self.soft.reference, int) and not 0 <= self.soft.reference < len(
            self.members
        ):
            raise ValueError(
                f"soft.reference is {self.soft.reference}, but there are only {len(self.members)}"
                " members, counted from 0"
            )
        return self
