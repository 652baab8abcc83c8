"""One set of members folded to several budgets: the curve between one network and the ensemble.

The trace, the members' outputs and the ranking of their units are found once
(`least_squares/solver.py`), so that each further budget costs one solution of the layers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from onefold.arguments import checked
from onefold.batches import Data
from onefold.ensemble.names import EnsembleName
from onefold.ensemble.pool import ClassPool
from onefold.errors import SettingError, shown
from onefold.fold.distillation import Polish
from onefold.fold.least_squares import LeastSquares
from onefold.fold.least_squares.solver import Solver
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.fold.plan import plan_merge
from onefold.fold.steps import Repairer, enter, goal_step, job_of, made_of, polish_step, trace_step
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.progress import track
from onefold.tasks import AUTO, TaskChoice, as_scoring
from onefold.widths.budget import budget_of

M = TypeVar("M", bound=nn.Module)

BUDGETS = ("1x", "1.25x", "1.5x", "2x")


@checked
@isolated
def fold_to_budgets(
    models: Sequence[M],
    data: Data,
    budgets: Sequence[str] = BUDGETS,
    *,
    method: LeastSquares | None = None,
    polish: int | Polish = 0,
    weights: Sequence[float] | None = None,
    ensemble: EnsembleName | ClassPool | None = None,
    output: OutputChoice = None,
    task: TaskChoice = AUTO,
    seed: int = 0,
) -> list[MergeResult[M]]:
    """Fold the members by least squares to each of several budgets.

    Args:
        models: K >= 2 networks of one class and one set of shapes; they are left as they are.
        data: unlabelled batches (see `onefold.batches`).
        budgets: what the results may cost, such as "1.5x" (see `onefold.LeastSquares.budget`).
        method: least squares with other settings; its width and budget are those given here.
        polish: passes of distillation from the ensemble at the end of each, or `onefold.Polish`.
        weights: as in `onefold.merge`.
        ensemble: as there.
        output: as there.
        task: as there.
        seed: of everything random.

    Returns:
        A result for each budget, in their order; `report.folded["factors"]` holds its costs.

    Raises:
        SettingError: no budget is given, or one of them cannot be met.
        MembersError, WeightsError, TraceError, DataError: as `onefold.merge`.
    """
    asked = [budget_of(budget) for budget in budgets]
    if not asked or isinstance(budgets, str):
        raise SettingError(f"The budgets are {shown(budgets)}; give a list such as ['1x', '1.5x'].")
    settings = dataclasses.replace(
        method or LeastSquares(), target="pruning", width=None, budget=None
    )
    plan = plan_merge(
        models,
        data,
        align="none",
        fold=settings,
        repair="none",
        polish=polish,
        weights=weights,
        ensemble=ensemble,
        validation=None,
        reference=0,
        output=output,
        scoring=as_scoring(task, (), None),
        seed=seed,
    )
    report = MergeReport("none", "least_squares", "none", len(models), 0, plan.weights)
    report.settings = {"align": {}, "fold": settings.settings(), "seed": seed}
    structure = trace_step(plan, report)
    if structure.spec is not None:
        report.cover(structure.spec)
    plan = goal_step(plan, report)
    assert isinstance(plan.fold, LeastSquares)
    with report.timed("apply and fold"):
        job = job_of(plan, structure, None, Repairer(plan, structure, None), report)
        solver = Solver(plan.fold, job, once=False)
        solver.check(asked)
    results = []
    for budget in track(asked, "budgets"):
        own = copy.deepcopy(report)
        own.settings["fold"] = {**own.settings["fold"], "budget": str(budget)}
        with own.timed("apply and fold"):
            folded = solver.fold(budget=budget)
            network: M = made_of(folded, job.network)  # type: ignore[assignment]
        enter(folded, network, own)
        results.append(MergeResult(polish_step(plan, network, own), None, own))
    return results
