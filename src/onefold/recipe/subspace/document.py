"""The recipe of a trained subspace: all that its networks depend on, so that the same bits can be
made again.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from onefold.recipe.document import NamePatterns, Part
from onefold.recipe.training.document import TrainedRecipe


class ShapePart(Part):
    """What subspace: the arguments of Subspace. vertices: null takes 2 for a line and 3 for the
    others.
    """

    shape: Literal["line", "curve", "simplex"] = "simplex"
    vertices: int | None = None
    layerwise: bool = False
    beta: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    include: NamePatterns = None
    exclude: NamePatterns = None
    draws: Literal["shared", "per rank"] = "shared"


class SubspaceRecipe(TrainedRecipe):
    """A whole run of subspace training; its main result is the midpoint."""

    command: ClassVar[str] = "subspace"
    main: ClassVar[str] = "midpoint.safetensors"
    subspace: ShapePart = ShapePart()
