"""Draws of a subspace, parts that stay shared, and mistakes, each answered in one sentence."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual
from subspace_steps import DATA, sgd, steps
from torch import Tensor, nn

import onefold
from onefold.errors import OnefoldError, SettingError, SubspaceError


def test_a_step_draws_once_and_the_next_one_anew() -> None:
    space = onefold.Subspace(Plain(), "line").train()
    x, y = DATA[0]
    space(x)
    first = space.coefficients
    space.diversity_penalty()
    loss = F.cross_entropy(space(x), y)
    assert torch.equal(space.coefficients, first)
    loss.backward()  # type: ignore[no-untyped-call]
    space(x)
    assert not torch.equal(space.coefficients, first)


def test_whoever_samples_owns_the_draws() -> None:
    space = onefold.Subspace(Plain(), "line").train()
    optimiser = sgd(space)
    space.sample()
    first = space.coefficients
    steps(space, optimiser, 3)
    assert torch.equal(space.coefficients, first)
    space.sample()
    assert not torch.equal(space.coefficients, first)


def test_layerwise_draws_differ_by_module_and_are_shared_within() -> None:
    space = onefold.Subspace(Plain(), "line", layerwise=True).train()
    space.sample()
    table = space.coefficients
    assert table.shape == (len({p.module for p in space.varied}), 2)
    assert len(set(table[:, 0].tolist())) == len(table)
    assert torch.allclose(table.sum(1), torch.ones(len(table), dtype=table.dtype))


def test_patterns_leave_the_rest_shared() -> None:
    model = Plain()
    names = [
        n
        for n, _ in model.named_modules()
        if n and any(True for _ in model.get_submodule(n).parameters(recurse=False))
    ]
    space = onefold.Subspace(model, "simplex", include=[names[0]]).train()
    assert {p.module for p in space.varied} == {names[0]}
    steps(space, sgd(space), 2)
    a, b = space.vertex(0), space.vertex(1)
    for name, value in a.named_parameters():
        assert torch.equal(value, b.get_parameter(name)) == (
            not name.startswith(names[0] + ".") or value.dim() == 0
        ), name
    rest = onefold.Subspace(model, "simplex", exclude=names[0])  # one pattern needs no list
    assert names[0] not in {p.module for p in rest.varied}
    assert {p.name for p in rest.varied} | {p.name for p in space.varied} == {
        n for n, _ in model.named_parameters()
    }


def test_frozen_parameters_stay_shared() -> None:
    model = Plain()
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    space = onefold.Subspace(model, "line")
    assert len(space.varied) == len(list(model.parameters())) - 1


class Raw(nn.Module):
    """A parameter of its own, and nothing that initialises it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 3))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x @ self.scale)


def _broken() -> nn.Module:
    model = Plain()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = math.nan
    return model


MISTAKES = [
    (
        lambda: onefold.Subspace(Raw()),
        SubspaceError,
        "Raw itself owns scale but has no reset_parameters.*init=",
    ),
    (
        lambda: onefold.Subspace(nn.Sequential(nn.Linear(2, 2), Raw())),
        SubspaceError,
        "'1', a Raw, owns 1.scale",
    ),
    (
        lambda: onefold.Subspace(Raw(), init=lambda network: None),
        SubspaceError,
        "left 'scale' and 1 other weights as it was",
    ),
    (
        lambda: onefold.Subspace(Plain(), "simplex", 1),
        SubspaceError,
        "simplex has 2 to 1000 vertices, not 1",
    ),
    (
        lambda: onefold.Subspace(Plain(), "line", 3),
        SubspaceError,
        "line has exactly 2 vertices, not 3",
    ),
    (
        lambda: onefold.Subspace(Plain(), "lines"),
        SubspaceError,
        "no shape 'lines'; did you mean 'line'",
    ),
    (lambda: onefold.Subspace(Plain(), beta=-1), SubspaceError, "weight of 0 or more, not beta=-1"),
    (lambda: onefold.Subspace(Plain(), draws="rank"), SubspaceError, "not 'rank'"),
    (lambda: onefold.Subspace(Plain(), fixed=[3]), SubspaceError, "There is no vertex 3"),
    (lambda: onefold.Subspace(nn.Flatten()), SubspaceError, "no trainable parameter"),
    (
        lambda: onefold.Subspace(Plain(), include=["nothing*"]),
        SettingError,
        "'nothing\\*' of `include` matches no part",
    ),
    (lambda: onefold.Subspace(_broken()), SubspaceError, "of the model holds NaN or infinity"),
    (
        lambda: onefold.Subspace(Plain(), starts=[None, Residual()]),
        SubspaceError,
        "Start 1 is a Residual, the model a Plain",
    ),
    (
        lambda: onefold.Subspace(Plain()).at([0.5, 0.5, 0.5]),
        SubspaceError,
        "lie outside the simplex",
    ),
    (
        lambda: onefold.Subspace(Plain()).at([1.5, -0.5, 0.0]),
        SubspaceError,
        "lie outside the simplex",
    ),
    (lambda: onefold.Subspace(Plain()).at([0.5, 0.5]), SubspaceError, "3 vertices, but 2 weights"),
    (lambda: onefold.Subspace(Plain()).at(0.5), SubspaceError, "needs 3 weights that sum to 1"),
    (
        lambda: onefold.Subspace(Plain(), "line").at(1.1),
        SubspaceError,
        "position 1.1 lies outside the line",
    ),
    (lambda: onefold.Subspace(Plain()).vertex(3), SubspaceError, "no vertex 3; the simplex has 3"),
    (lambda: onefold.Subspace(Plain()).ensemble(2, ensemble="votes"), SettingError, "by 'votes'"),
    (
        lambda: onefold.Subspace(Plain(), "line").ensemble(2, at=[0.5]),
        SubspaceError,
        "An ensemble of 2 was asked for, but 1 points",
    ),
    (
        lambda: onefold.Subspace(Residual()).midpoint(),
        SubspaceError,
        "The midpoint needs data: the network has batch norm",
    ),
    (lambda: onefold.Subspace(Residual()).ensemble(2), SubspaceError, "An ensemble needs data"),
    (
        lambda: onefold.Subspace.between(Plain(), Residual()),
        SubspaceError,
        "The second end is a Residual",
    ),
    (
        lambda: onefold.Subspace.between(nn.Linear(2, 2), nn.Linear(2, 3)),
        SubspaceError,
        "has 'weight' of shape \\(3, 2\\), the model of shape",
    ),
    (
        lambda: onefold.Subspace.between(Plain(), Plain(), "simplex"),
        SubspaceError,
        "starts=\\[a, b\\]",
    ),
    (lambda: onefold.Subspace(Plain(), "curve").grow(), SubspaceError, "A curve cannot grow"),
    (lambda: onefold.Subspace(Plain()).coefficients, SubspaceError, "No point has been drawn yet"),
    (
        lambda: nn.DataParallel(onefold.Subspace(Plain())).module._replicate_for_data_parallel(),
        SubspaceError,
        "DistributedDataParallel",
    ),
    (
        lambda: onefold.Subspace(Plain()).eval().diversity_penalty(),
        SubspaceError,
        "belongs to a step of training",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "kind", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES]
)
def test_mistakes_are_answered_in_one_sentence(
    mistake: object, kind: type[OnefoldError], message: str
) -> None:
    assert callable(mistake)
    with pytest.raises(kind, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
