"""The average weighted by correlations: its formula, its limits, and what it needs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from least_squares_networks import Attention, batches_of, difference, inputs_of, network
from small_networks import Plain, Residual, loader, members, trained

import onefold
from onefold.alignment import align
from onefold.errors import SettingError
from onefold.fold import merge

TEST = loader(512, seed=99, batch=128)


@pytest.mark.slow
def test_it_is_the_average_where_all_correlate_and_the_reference_where_none_does() -> None:
    models, data = members(Plain, 2), loader()
    found = align(models, data, method="permutation")
    ones = dataclasses.replace(
        found, scores={name: torch.ones_like(s) for name, s in found.scores.items()}
    )
    none = dataclasses.replace(
        found, scores={name: -torch.ones_like(s) for name, s in found.scores.items()}
    )
    plain = merge(models, data, align=found, fold="average", repair="none").model.state_dict()
    same = merge(
        models, data, align=ones, fold="correlated_average", repair="none"
    ).model.state_dict()
    alone = merge(
        models, data, align=none, fold="correlated_average", repair="none"
    ).model.state_dict()
    mixed = merge(
        models, data, align=found, fold="correlated_average", repair="none"
    ).model.state_dict()
    for name, value in plain.items():
        torch.testing.assert_close(same[name], value)
        if "head" not in name:  # the last layer makes no units
            torch.testing.assert_close(alone[name], models[0].state_dict()[name])
            assert not torch.equal(mixed[name], value)


def test_a_row_is_weighed_by_its_units_correlation() -> None:
    models, data = members(Plain, 2), loader()
    found = align(models, data, method="permutation")
    group = next(
        g
        for g in found.spec.groups
        for s in g.slots
        if s.tensor.endswith("weight") and s.role == "producer" and s.axis == 0
    )
    slot = next(s for s in group.slots if s.role == "producer" and s.tensor.endswith("weight"))
    state = merge(
        models, data, align=found, fold="correlated_average", repair="none", weights=[1, 3]
    ).model.state_dict()
    first, second = (
        found.apply_to_state(m.state_dict(), k)[slot.tensor].double() for k, m in enumerate(models)
    )
    rho = found.scores[group.name][1].double().clamp_min(0).reshape(-1, *[1] * (first.dim() - 1))
    torch.testing.assert_close(
        state[slot.tensor].double(), first + 0.75 * rho * (second - first), atol=1e-6, rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permutation", "cca"])
def test_it_works_with_norms_and_repair(method: str) -> None:
    models, data = members(Residual, 3), loader(512)
    result = merge(models, data, align=method, fold="correlated_average")
    assert result.report.repaired["layers"] + result.report.repaired["norms"] > 0
    average = onefold.evaluate(
        merge(models, data, align=method, fold="average").model, TEST
    ).accuracy
    assert onefold.evaluate(result.model, TEST).accuracy > max(0.7, average - 0.02)
    assert all(
        len(row) == 3 and row[0] == pytest.approx(1)
        for row in result.report.folded["correlations"].values()
    )


def test_heads_of_attention() -> None:
    model, data = network(Attention, 0), batches_of(Attention)
    again = merge(
        [model, model], data, align="permutation", fold="correlated_average", repair="none"
    ).model
    assert difference(again, model, inputs_of(Attention, 32, 5)) < 1e-10


def test_it_needs_an_alignment_to_one_member() -> None:
    models = [trained(Plain, 0), trained(Plain, 1)]
    for options in ({"align": "none"}, {"align": "permutation", "reference": None}):
        with pytest.raises(SettingError, match="align the members to one"):
            merge(models, loader(), fold="correlated_average", **options)  # type: ignore[arg-type]
