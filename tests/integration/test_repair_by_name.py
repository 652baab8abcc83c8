"""Repair by name behind folds whose units stand elsewhere than in the alignment."""

from __future__ import annotations

import copy

import pytest
import torch
from corner_networks import off
from torch import Tensor, nn

import onefold
from onefold.fold import LeastSquares


class Picture(nn.Sequential):
    """Convolutions with norms of uneven scales, some of them negative."""

    inputs = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 3),
        )
        for norm in (self[1], self[4]):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)


class Series(nn.Sequential):
    """The same over time."""

    inputs = (4, 9)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(4, 6, 3),
            nn.BatchNorm1d(6),
            nn.Tanh(),
            nn.Conv1d(6, 5, 3),
            nn.BatchNorm1d(5),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(25, 3),
        )
        for norm in (self[1], self[4]):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)


class Plain(nn.Sequential):
    """No norm, so that repair acts on weights and biases."""

    inputs = (7,)

    def __init__(self) -> None:
        super().__init__(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3))
        for k in (0, 2):
            self[k].bias.data = torch.linspace(-1, 1, len(self[k].bias))


def made(kind: type[nn.Module], seed: int, data: list[Tensor]) -> nn.Module:
    torch.manual_seed(seed)
    model = kind()
    with torch.no_grad():
        for x in data * 20:
            model(x)
    return model.eval()


def inputs_of(kind: type[nn.Module]) -> list[Tensor]:
    torch.manual_seed(7)
    return [torch.randn(64, *kind.inputs) for _ in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "repair"),
    [(Picture, "batchnorm"), (Picture, "full"), (Series, "full"), (Plain, "full")],
)
def test_repair_by_name_takes_no_channel_for_another_behind_pruning(
    kind: type[nn.Module], repair: str
) -> None:
    data = inputs_of(kind)
    model = made(kind, 0, data)
    merged = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="permutation",
        fold=LeastSquares("pruning"),
        repair=repair,
    )
    assert off(model, merged.model, data[0]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fold"),
    [(Picture, "greedy_soup"), (Series, "greedy_soup"), (Plain, "greedy_soup"), (Plain, "auto")],
)
def test_a_member_that_is_the_result_alone_keeps_its_own_statistics(
    kind: type[nn.Module], fold: str
) -> None:
    data = inputs_of(kind)
    other, model = made(kind, 1, data), made(kind, 0, data)
    with torch.no_grad():
        labelled = [(x, model(x).argmax(1)) for x in data]  # the second member is always right
    result = onefold.merge(
        [other, model], labelled, align="permutation", fold=fold, repair="full", validation=labelled
    )
    assert (
        result.report.folded.get("ingredients") == [1]
        or result.report.folded["choice"] == "member 1"
    )
    assert off(model, result.model, data[0]) < (1e-5 if kind is Plain else 0.1)
