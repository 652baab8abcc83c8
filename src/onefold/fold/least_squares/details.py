"""What a least-squares fold tells of itself, as plain data, and what it reads of its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from onefold.ensemble.names import EnsembleName
from onefold.ensemble.pool import ClassPool
from onefold.fold.least_squares.plan import Plan
from onefold.fold.least_squares.selection import UnitSelection
from onefold.fold.least_squares.solve import SolvedLayer
from onefold.fold.network_fold import plain
from onefold.widths.costs import UNITS, Costs


class Settings(Protocol):
    """What a solver reads of `LeastSquares`, which documents it."""

    @property
    def target(self) -> str:
        """How features make one target."""

    @property
    def rows(self) -> int:
        """Sampled positions of a layer."""

    @property
    def ridge(self) -> float | None:
        """Lambda; None to choose it."""

    @property
    def threshold(self) -> float:
        """Of the target selection."""

    @property
    def ensemble(self) -> EnsembleName | ClassPool | None:
        """The aim of the output."""

    @property
    def keep(self) -> str | None:
        """Whose units the network has."""

    @property
    def head(self) -> str:
        """How the last layer is fitted."""


def details_of(
    plan: Plan,
    settings: Settings,
    solved: Sequence[SolvedLayer],
    selections: Mapping[str, UnitSelection],
) -> dict[str, Any]:
    """Every layer that was solved, the units by group and member, and what stays an average."""
    members = len(plan.shares)
    counts = {
        name: torch.bincount(selection.member, minlength=members).tolist()
        for name, selection in selections.items()
    }
    other = "is no linear, convolutional or recurrent layer's"
    averaged = {
        name: plan.unsolved.get(name, other)
        for name in plan.traced.parameters
        if name not in plan.solved
    }
    pool = plan.pool
    classes = {"classes": pool.to_dict()} if pool is not None and plan.by_class else {}
    return {
        **classes,
        "target": settings.target,
        "ensemble": plain(settings.ensemble),
        "examples": plan.calibration.examples,
        "layers": [layer.to_dict() for layer in solved],
        "units": counts,
        "averaged": averaged,
    }


def cost_details(costs: Costs, selections: Mapping[str, UnitSelection]) -> dict[str, Any]:
    """What a network of the selected units costs, also as factors of one member's cost."""
    widths = {name: len(own.unit) for name, own in selections.items()}
    found = {unit: costs.total(unit, widths) for unit in UNITS}
    return {"costs": found, "factors": {unit: found[unit] / costs.total(unit) for unit in UNITS}}
