"""The recipe of a merge: members, how they are aligned and folded, on what data, and where the
result goes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from onefold.recipe.document import InputFile, Job, Part
from onefold.recipe.reading import checked, read_as


class AlignPart(Part):
    """How the members are aligned: a matcher, "none", or a saved alignment in `file`.

    method: null is cca, and where no parameter can be moved a warning; for a matcher that is named
    that is an error.
    """

    method: str | None = None
    file: InputFile | None = None
    reference: int = Field(default=0, ge=0)
    probe: Literal["auto", "pre", "post"] = "auto"
    regularization: float | None = Field(default=None, ge=0)
    prior: float | None = Field(default=None, ge=0)
    max_positions: int | None = Field(default=None, ge=1)


class FoldPart(Part):
    """How the aligned members become one network, how its statistics are repaired, and in how many
    passes it is distilled from their ensemble.

    target, rows, ridge: of least squares; null: its defaults. ensemble: what least squares and
    polish aim at; null: the mean of logits. class_shares: of "classes", those of the calibration
    data; null: even. until: the module up to which they are merged, or a share of the layers as
    50%; null: all of it.
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


class Recipe(Job):
    """A whole merge: `members` of the architecture `model`, aligned and folded on `data`, written
    to `output`.

    devices: how many processes share the calibration data, on which the last bits of sums depend.
    """

    command: ClassVar[str] = "merge"
    align: AlignPart = AlignPart()
    fold: FoldPart = FoldPart()
    barrier: bool = False
    devices: int = Field(default=1, ge=1)

    def further_paths(self, rename: Callable[[InputFile], InputFile]) -> dict[str, Any]:
        return (
            {"align": self.align.model_copy(update={"file": rename(self.align.file)})}
            if self.align.file
            else {}
        )

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.align.reference >= len(self.members):
            raise ValueError(
                f"align.reference is {self.align.reference}, but there are only {len(self.members)}"
                " members, counted from 0"
            )
        if self.fold.weights is not None and len(self.fold.weights) != len(self.members):
            raise ValueError(
                f"fold.weights has {len(self.fold.weights)} numbers for {len(self.members)} members"
            )
        if self.data is None and (self.align.method, self.fold.repair) != ("none", "none"):
            raise ValueError(
                "aligning and repairing need calibration data, so give data, or set align.method"
                " and fold.repair to none"
            )
        if self.data is None and self.fold.polish:
            raise ValueError(
                "fold.polish needs calibration data, so give data, or leave polish out"
            )
        if self.fold.until is not None and (
            self.data is None or self.fold.polish or self.fold.ensemble
        ):
            raise ValueError(
                "fold.until needs calibration data and takes no polish and no ensemble, so give"
                " data and leave these out"
            )
        if self.fold.class_shares is not None and self.fold.ensemble != "classes":
            raise ValueError(
                "fold.class_shares goes with fold.ensemble classes, so give that too, or leave the"
                " shares out"
            )
        if (self.align.method == "saved") != (self.align.file is not None):
            raise ValueError("align.file goes with align.method saved, and the other way round")
        if self.barrier and self.evaluation is None:
            raise ValueError("a barrier needs labelled data, so give evaluation too")
        return self


def read(path: str | Path) -> Recipe:
    """The recipe of a merge in the YAML file `path`; see `read_as`."""
    return read_as(Recipe, path)


def check(content: object, what: str = "The recipe") -> Recipe:
    """`content`, as parsed from YAML or built from flags, as a Recipe.

    Raises:
        RecipeError: it is not one; the message starts with `what` and names the key.
    """
    return checked(Recipe, content, what)
