"""Folds whose units stand elsewhere than the alignment puts them; units that stand in products;
segmented runs over inputs of several sizes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from onefold.batches import batches
from onefold.fold import LeastSquares
from onefold.symmetry import trace
from onefold.symmetry.segments import SegmentedRun


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


def off(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        y = ours(x)
        return float((theirs(x) - y).abs().max() / y.abs().max())


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


class Heads(nn.Module):
    """Hidden features as heads of a few: layers read whole heads, the features of each, or all."""

    def __init__(self, heads: int, size: int, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped
        self.first, self.all = nn.Linear(5, heads * size), nn.Linear(heads * size, 4)
        self.inside, self.across = nn.Linear(size, 2), nn.Linear(heads, 2)
        self.last = nn.Linear(2 * (size if swapped else heads) + 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).tanh()
        heads = h.unflatten(-1, (self.across.in_features, self.inside.in_features))
        read = self.across(heads.transpose(-1, -2)) if self.swapped else self.inside(heads)
        return self.last(torch.cat([read.flatten(-2).tanh(), self.all(h).tanh()], -1))


@pytest.mark.parametrize(("heads", "size", "swapped"), [(4, 3, False), (3, 4, True), (2, 6, False)])
def test_units_of_a_product_are_taken_from_one_member(heads: int, size: int, swapped: bool) -> None:
    torch.manual_seed(heads)
    model = Heads(heads, size, swapped).eval()
    data = [torch.randn(64, 5) for _ in range(4)]
    merged = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("pruning"),
        repair="none",
    )
    assert off(model, merged.model, data[0]) < 0.01


class Started(nn.Module):
    """A recurrent layer that is given its first state, whose size the trace reads from the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.layer = (
            nn.Linear(5, 6),
            nn.Linear(5, 6),
            nn.RNN(6, 4, batch_first=True),
        )
        self.head, self.tail = nn.Linear(6, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.shape[0], 4)
        return self.head(self.a(x).tanh()) + self.tail(self.layer(self.b(x), start)[0])


class Tiled(nn.Module):
    """A vector for each example, made as often as there are examples."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.a, self.head = (
            nn.Parameter(torch.randn(1, 1, 5)),
            nn.Linear(5, 6),
            nn.Linear(6, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.a(torch.cat([self.token.expand(x.shape[0], 1, 5), x], 1)).relu())


class Counted(nn.Module):
    """Positions counted from the inputs' shape."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.full((x.shape[0], 1, 1), 0.5)
        return self.head(self.b(self.a(x).relu() * weight).relu())


@pytest.mark.parametrize("kind", [Started, Tiled, Counted])
def test_a_segmented_run_halts_at_the_same_node_whatever_the_size(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    data = [torch.randn(8, 4, 5), torch.randn(8, 6, 5), torch.randn(8, 4, 5)]
    traced = trace(model, (data[0],))
    state = model.state_dict()
    run = SegmentedRun(traced, state, list(batches(data)))
    layers = [n for n in traced.graph.nodes if "linear" in str(n.target)]
    for layer in layers:
        source = layer.args[0].name
        run.before(layer.name)
        for x, found in zip(data, run.values(source), strict=True):
            seen: list[Tensor] = []
            traced.replay(
                [state], (x,), visit=lambda _, v, s=seen: s.append(v[0].clone()), nodes=[source]
            )
            assert torch.equal(found, seen[0])
    with torch.no_grad():
        for x, found in zip(data, run.finish(), strict=True):
            torch.testing.assert_close(found, model(x))


class Pooled(nn.Module):
    """Positions weighed by a learned vector, as attention pooling does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.query, self.head = (
            nn.Linear(5, 6),
            nn.Parameter(torch.randn(6)),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return self.head(((h @ self.query).softmax(1)[..., None] * h).sum(1))


class Scored(nn.Module):
    """One number for an example, by a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.vector = nn.Linear(5, 8), nn.Linear(8, 6), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return (self.b(self.a(x).relu()).tanh() @ self.vector)[..., None]


class Dotted(nn.Module):
    """The same written as an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.vector = nn.Linear(5, 8), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btc,c->bt", self.a(x).sigmoid(), self.vector)


@pytest.mark.parametrize("kind", [Pooled, Scored, Dotted])
def test_selection_weighs_units_that_a_vector_reads(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, other = kind().eval(), kind().eval()
    data = [torch.randn(64, 4, 5) for _ in range(3)]
    same = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("selection"),
        repair="none",
    )
    assert off(model, same.model, data[0]) < 1e-4
    onefold.merge([model, other], data, align="permutation", fold=LeastSquares("selection"))


@pytest.mark.parametrize("kind", [Tiled, Counted])
def test_least_squares_solves_over_inputs_of_several_sizes(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    data = [torch.randn(32, 4, 5), torch.randn(32, 6, 5), torch.randn(32, 4, 5)]
    merged = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("correlation"),
        repair="none",
    )
    assert off(model, merged.model, data[1]) < 1e-4
    assert F.mse_loss(merged.model(data[0]), model(data[0])) < 1e-8
