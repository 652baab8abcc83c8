"""Steps of a merge, one by one."""

from __future__ import annotations

import pytest
import torch
from merge_defaults import MERGE_DEFAULTS
from small_networks import Plain, Residual, loader, members
from torch import Tensor, nn

import onefold
from onefold.errors import NothingToAlignError
from onefold.fold.least_squares import solver
from onefold.fold.merge_report import MergeReport
from onefold.fold.plan import plan_merge
from onefold.fold.steps import Repairer, Structure, align_step, fold_step, trace_step


def report() -> MergeReport:
    return MergeReport("none", "average", "auto", 2, 0, (0.5, 0.5))


def test_nothing_is_traced_that_nobody_needs() -> None:
    settings = {**MERGE_DEFAULTS, "fold": "average", "align": "none", "repair": "none"}
    plan = plan_merge(members(Plain, 2), loader(), **settings)  # type: ignore[arg-type]
    assert trace_step(plan, report()) == Structure(None, None)


def test_steps_give_what_merge_gives() -> None:
    models, data = members(Residual, 2), loader()
    plan = plan_merge(
        models,
        data,
        **{**MERGE_DEFAULTS, "fold": "average", "align": "permutation", "repair": "full"},
    )
    told = report()
    structure = trace_step(plan, told)
    alignment = align_step(plan, structure, told)
    repairer = Repairer(plan, structure, alignment)
    network, folded = fold_step(plan, structure, alignment, repairer, told)
    repairer(network, "full", told, folded.based)
    whole = onefold.merge(models, data, align="permutation", repair="full", fold="average")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert told.used == {"alignment": 256, "targets of repair": 256, "repair": 256}


class Positions(nn.Module):
    """A network in which nothing may move: every feature is a position."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x * self.scale, -1)


def test_a_default_that_aligns_nothing_is_a_note_and_a_name_is_an_error() -> None:
    models, data = [Positions(), Positions()], [torch.randn(8, 6) for _ in range(2)]
    plan = plan_merge(models, data, **{**MERGE_DEFAULTS, "fold": "average", "repair": "none"})
    told = report()
    assert align_step(plan, trace_step(plan, told), told) is None
    assert any("nothing was aligned" in text for text in told.warnings)
    named = plan_merge(
        models, data, **{**MERGE_DEFAULTS, "fold": "average", "align": "cca", "repair": "none"}
    )
    with pytest.raises(NothingToAlignError):
        align_step(named, trace_step(named, told), told)


def test_least_squares_aligns_nothing_it_does_not_need() -> None:
    result = onefold.merge(members(Plain, 2), loader(), fold="least_squares")
    assert result.alignment is None
    assert result.report.align == "none"
    assert "statistics" not in result.report.seconds
    assert sum(map(sum, result.report.folded["units"].values())) > 0


def test_pruning_that_finds_no_unit_aligns_before_it_averages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solver, "choose_units", lambda *a, **k: {})
    models = members(Plain, 2)
    result = onefold.merge(models, loader(), fold="least_squares")
    assert result.alignment is not None
    assert result.report.align == "cca"
    assert sum("no unit of the network" in text for text in result.report.warnings) == 1
    alone = onefold.merge(models, loader(), fold="least_squares", align="none")
    assert alone.alignment is None  # it was asked not to
