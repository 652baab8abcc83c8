"""The recipe of a trained subspace: all that its networks depend on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from onefold.documents.part import Flag, NamePatterns, Part
from onefold.recipe.training.document import TrainedRecipe
from onefold.result_reports.provenance import Fact, settings_facts


class ShapePart(Part):
    """The arguments of Subspace."""

    main: ClassVar[str | None] = "shape"
    shape: Literal["line", "curve", "simplex"] = Field(
        default="simplex", description="The shape of the subspace."
    )
    vertices: int | None = Field(
        default=None, description="The number of vertices; left out, 2 for a line, else 3."
    )
    layerwise: bool = Field(default=False, description="Draw a point for every layer of its own.")
    beta: float = Field(default=1.0, ge=0, description="The weight of the vertices' likeness.")
    include: NamePatterns = Field(
        default=None, description="Only what matches differs; may be repeated."
    )
    exclude: NamePatterns = Field(
        default=None, description="What matches is shared by all points; may be repeated."
    )
    draws: Literal["shared", "per rank"] = Field(
        default="shared", description="Whether the processes draw the same points."
    )


class SubspaceRecipe(TrainedRecipe):
    """A whole run of subspace training; its main result is the midpoint."""

    command: ClassVar[str] = "subspace"
    noun: ClassVar[str] = "subspace"
    result: ClassVar[str] = "midpoint.safetensors"
    subspace: Annotated[ShapePart, Flag(panel="What subspace")] = ShapePart()

    def facts(self) -> dict[str, Fact]:
        """What every training tells, and the settings of the subspace."""
        return {**super().facts(), **settings_facts(self.subspace.model_dump())}
