"""Least-squares folding: every layer refitted, in graph order, to the aligned members' features.

The weights of a layer bring its output on the folded network's own activations X as near as
possible to the target T that the aligned members set:

    minimise over W, b   |X W + 1 b' - T|^2 / n + lambda m |W - W0|^2.

X comes from the folded prefix. So every layer repairs the drift of those before it, and no
statistics need repair afterwards.

Sources. Least squares of layers from activations: Jin, Ren, Preotiuc-Pietro & Cheng 2023, "Dataless
Knowledge Fusion by Merging Weights of Language Models" (RegMean, arXiv 2212.09849), where X is each
member's own. Nasery, Hayase, Koh & Oh 2024, "PLeaS: Merging Models with Permutations and Least
Squares" (arXiv 2407.02447), where X is that of permuted members.

The targets are in `targets.py`, sums of a residual stream in `layers.py`, the ridge in `ridge.py`.

Cost: one forward pass of each member, one of the folded network, and the products X'X of sampled
rows. Pruning costs more, see `units.py`.

Memory, in all:

- the calibration batches;
- the live values of the folded network over all batches, at most LIVE bytes (fewer examples are
  used if they would take more);
- the sampled targets, three or four times, at most ROWS bytes (fewer rows are used if they would
  take more);
- D^2 float64 numbers for a layer whose matrix has D inputs, one layer at a time.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from onefold.arguments import check_fields
from onefold.ensemble.mean_choice import choose_mean
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError, nearest
from onefold.fold.average import folds
from onefold.fold.least_squares.plan import check_job
from onefold.fold.least_squares.ranking import KEEP, MEMBER, too_little
from onefold.fold.least_squares.solver import Solver
from onefold.fold.least_squares.targets import TARGETS
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.widths.budget import Budget, budget_of

HEADS = ("squares", "logistic")


@folds.register("least_squares")
@dataclass(frozen=True)
class LeastSquares(NetworkFold):
    """The weights that come nearest to the members' features, layer by layer.

    Attributes:
        target: how the members' features make one target: "pruning", "correlation", "equal" or
            "selection" (see `targets.py`).
        rows: sampled positions of a layer's output over all examples.
        ridge: lambda, relative to the mean variance of the inputs. None chooses it for each layer
            on the last 15 % of the examples.
        threshold: the least correlation of units whose mean is taken, of target "selection".
        ensemble: what the network's output aims at. "logits" is the mean of the members' logits.
            "probabilities" is the mean of a classifier's probabilities, which is better if members
            are sure of what they do not know. None takes the mean of logits unless that of a
            classifier's probabilities answers clearly more evenly (`ensemble/mean_choice.py`). A
            pool (`onefold.class_pool`) is better still if they saw the classes in different shares.
            "classes" is the pool that is estimated from the calibration data, whose classes are
            taken to be even.
        head: how the layer that puts out the logits is fitted: by "squares" as every other, or
            "logistic", by the cross-entropy to the ensemble's probabilities (`logistic.py`), which
            follows a pool of classes better where a member never saw one; `ensemble` None is then
            "probabilities".
        width: the share of each group's units that the result has, with the target "pruning": 0.5
            is half as wide as a member, 2 twice; None: as wide as a member.
        budget: what the result may cost, as a factor of one member's multiply-adds ("1.5x"), of its
            parameters ("1.5x parameters") or bytes, or as a number of these; units are taken out
            where that costs least until it is met. None: see `width`.
        keep: whose units the result has, with the target "pruning": "units" are those that are
            needed most, of whichever member; "member" are all of the reference's, and beside them
            the most needed ones of the others; "nearest" solves both and takes the one that is
            nearer to the ensemble on the calibration data (`ranking.py`). None is "nearest" with a
            width or budget and "units" without.

    Raises:
        SettingError: a setting is out of range or has no such name.
    """

    target: str = "pruning"
    rows: int = 20000
    ridge: float | None = None
    threshold: float = 0.5
    ensemble: EnsembleName | ClassPool | None = None
    head: str = "squares"
    width: float | None = None
    budget: str | None = None
    keep: str | None = None

    repairs: ClassVar[bool] = False

    @property
    def aligns(self) -> bool:
        """Whether the target lies in the alignment's basis; pruning takes units as they are."""
        return self.target != "pruning"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.target not in TARGETS:
            raise SettingError(
                f"There is no target '{self.target}' of least squares;"
                f" {nearest(self.target, TARGETS)}"
            )
        if self.ensemble is not None:
            check_ensemble(self.ensemble)
        if self.head not in HEADS:
            raise SettingError(
                f"There is no head '{self.head}' of least squares; {nearest(self.head, HEADS)}"
            )
        if self.head == "logistic" and self.ensemble is None:
            object.__setattr__(self, "ensemble", "probabilities")
        if self.head == "logistic" and self.ensemble == "logits":
            raise SettingError(
                "A logistic head is fitted to probabilities, not to the mean of logits; give"
                " ensemble='probabilities' or 'classes', or a pool."
            )
        if self.rows < 1:
            raise SettingError(
                f"Least squares was asked for {self.rows} rows; it needs at least 1, and thousands"
                " to be good."
            )
        if self.ridge is not None and not (math.isfinite(self.ridge) and self.ridge > 0):
            raise SettingError(
                f"The ridge of least squares is {self.ridge}; it must be greater than 0, or left"
                " out to be chosen."
            )
        if self.keep is not None and self.keep not in KEEP:
            raise SettingError(
                f"Least squares cannot keep '{self.keep}'; {nearest(self.keep, KEEP)}"
            )
        self._check_width()

    def _check_width(self) -> None:
        """Refuse a width or budget that is none, both at once, and targets that know none."""
        if self.width is None and self.budget is None and self.keep is None:
            return
        if self.width is not None and self.budget is not None:
            raise SettingError(
                f"Least squares was given a width ({self.width:g}) and a budget ({self.budget});"
                " give one of them."
            )
        if self.target != "pruning":
            raise SettingError(
                f"The target '{self.target}' of least squares has the members' width and units of"
                " all; leave width, budget and keep out, or take the target 'pruning'."
            )
        if self.width is not None and not (math.isfinite(self.width) and self.width > 0):
            raise SettingError(
                f"The width is {self.width}; it is the share of each group's units and must be"
                " greater than 0, such as 0.5 or 1.5."
            )
        wanted = None if self.budget is None else budget_of(self.budget)
        if self.keep == MEMBER and self.width is not None and self.width < 1:
            raise too_little(f"width {self.width:g}")
        if self.keep == MEMBER and wanted is not None and wanted.relative and wanted.number < 1:
            raise too_little(f"budget {wanted}")

    def fold(self, job: FoldJob) -> Folded:
        """The folded state.

        `Folded.details` names every layer that was solved, and the weights that stay averages.

        Raises:
            SettingError: the job has no data or no traced network.
            TraceError: no layer can be solved.
            DataError: the data does not serve, or a network gives values that are not finite.
        """
        _, _, data = check_job(job)
        if self.ensemble is None:
            chosen = choose_mean(job.models, data, job.output, job.shares)
            done = dataclasses.replace(self, ensemble=chosen.name).fold(job)
            return dataclasses.replace(done, warnings=[*done.warnings, *chosen.notes])
        try:
            return Solver(self, job).fold(self.width, self._budget)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise DataError(
                "Least squares cannot be solved, as features of the members are too large, or too"
                f" far apart in size, for their products ({str(error).split('.')[0]}); look for"
                " weights out of all proportion, or use fold='average'."
            ) from error

    def settings(self) -> dict[str, Any]:
        """The settings as plain data; width, budget and what is kept only where they are given."""
        given = super().settings()
        unset = [name for name in ("width", "budget", "keep") if given[name] is None]
        return {name: value for name, value in given.items() if name not in unset}

    @property
    def _budget(self) -> Budget | None:
        return None if self.budget is None else budget_of(self.budget)
