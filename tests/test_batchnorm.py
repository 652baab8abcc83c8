"""Folding of batch norms keeps the function; re-estimation gives the true statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from norm_places import Siamese, images, off, settled
from signed_norms import Ahead, Mlp, signed
from torch import Tensor, nn

from onefold import batchnorm
from onefold.batches import RankShare
from onefold.batchnorm import fold_norms, neutralized, norms_of, reestimate
from onefold.errors import DataError
from onefold.fold import merge, recalibrate
from onefold.fold.repair import repair
from onefold.layers import Layer, Norm
from onefold.symmetry import find_symmetries


@pytest.mark.parametrize("kind", [Mlp, Ahead])
def test_statistics_that_are_off_are_measured_again(kind: type[nn.Module]) -> None:
    network, x = signed(kind, "mixed")
    expected = network(x).detach()
    for norm in norms_of(network):
        norm.running_mean += 0.7
        norm.running_var *= 3.0
    assert (network(x) - expected).abs().max() > 0.1 * expected.abs().max()
    report = repair(network, [x], find_symmetries(network, x), {})
    assert (report.norms, report.dead) == (2, 0)
    assert (
        (network(x) - expected).abs().max() < 0.01 * expected.abs().max()
    )  # variances of a sample, here by n and there by n - 1


def test_only_the_norms_that_are_named_are_measured_again() -> None:
    network, x = signed(Mlp, "mixed")
    before = network.norm1.running_mean.clone(), network.norm2.running_mean.clone()
    assert reestimate(network, [2 * x], only={"norm2", "head"}) == 1
    assert torch.equal(network.norm1.running_mean, before[0])
    assert not torch.allclose(network.norm2.running_mean, before[1])
    assert reestimate(network, [x], only=set()) == 0
    assert reestimate(network, [x]) == 2
    torch.testing.assert_close(network.norm2.running_mean, before[1])


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-4, -1e-4, 3e-3, -3e-3, 0.04, 1.0])
def test_scales_too_small_for_their_eps_are_folded_without_a_negative_variance(
    scale: float, eps: float
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, eps=eps)).double().eval()
    network[1].weight.data = torch.tensor([scale, 0.7, scale], dtype=torch.float64)
    nn.init.normal_(network[1].bias)
    network[1].running_mean.normal_()
    norm = Norm("norm", "1.weight", "1.bias", "1.running_mean", "1.running_var", eps)
    layer = Layer("layer", "linear", "0.weight", "0.bias", 0, "x", "norm", 1, 1, norm)
    x = torch.randn(20, 4, dtype=torch.float64)
    expected = network(x).detach()
    network.load_state_dict(fold_norms(network.state_dict(), [layer]))
    assert bool((network[1].running_var >= 0).all())
    torch.testing.assert_close(network(x).detach(), expected)
    large = scale**2 > 2 * eps
    assert network[1].weight[0] == (abs(scale) if large else 1.0)
    again = neutralized(network.state_dict(), [layer])
    assert all(torch.equal(again[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize(("scale", "shift"), [("scale", None), (None, "shift"), (None, None)])
@pytest.mark.parametrize("fold", [fold_norms, neutralized])
def test_norms_without_scale_or_shift_are_left_alone(
    scale: str | None, shift: str | None, fold: Callable[..., dict[str, Tensor]]
) -> None:
    norm = Norm("norm", scale, shift, "mean", "variance", 0.01)
    layer = Layer("l", "linear", "w", None, 0, "x", "norm", 1, 1, norm)
    state = {name: torch.full((4,), 3.0) for name in ("scale", "shift", "mean", "variance")} | {
        "w": torch.ones(4, 2)
    }
    found = fold(state, [layer])
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_the_guard_starts_where_the_variance_would_be_less_than_eps() -> None:
    layer = Layer(
        "l",
        "linear",
        "w",
        None,
        0,
        "x",
        "norm",
        1,
        1,
        Norm("norm", "scale", "shift", "mean", "variance", 0.01),
    )
    scale = torch.tensor(
        [0.13, 0.15, -0.13, -0.15], dtype=torch.float64
    )  # of squares 0.0169 and 0.0225, beside 2 eps = 0.02
    state = {
        "w": torch.ones(4, 2),
        "scale": scale,
        "shift": torch.zeros(4),
        "mean": torch.zeros(4),
        "variance": torch.ones(4).double(),
    }
    found = neutralized(state, [layer])
    torch.testing.assert_close(
        found["scale"], torch.tensor([1.0, 0.15, 1.0, -0.15], dtype=torch.float64)
    )
    torch.testing.assert_close(found["variance"], found["scale"] ** 2 - 0.01)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for norm in norms_of(module):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return module.double().eval()


def layer(kind: str, *, bias: bool, weight_axis: int = 0, groups: int = 1) -> Layer:
    norm = Norm("norm", "1.weight", "1.bias", "1.running_mean", "1.running_var", 1e-5)
    return Layer(
        "layer",
        kind,
        "0.weight",
        "0.bias" if bias else None,
        weight_axis,
        "x",
        "norm",
        1,
        groups,
        norm,
    )


@pytest.mark.parametrize(
    ("first", "described", "shape"),
    [
        (nn.Conv2d(3, 4, 3, bias=False), layer("conv", bias=False), (2, 3, 6, 6)),
        (nn.Conv2d(4, 6, 3, groups=2), layer("conv", bias=True, groups=2), (2, 4, 6, 6)),
        (
            nn.ConvTranspose2d(4, 6, 2),
            layer("conv_transpose", bias=True, weight_axis=1),
            (2, 4, 5, 5),
        ),
        (
            nn.ConvTranspose2d(4, 6, 2, groups=2),
            layer("conv_transpose", bias=True, weight_axis=1, groups=2),
            (2, 4, 5, 5),
        ),
    ],
)
def test_folding_keeps_the_function(
    first: nn.Module, described: Layer, shape: tuple[int, ...]
) -> None:
    channels = first.out_channels
    network = randomised(nn.Sequential(first, nn.BatchNorm2d(channels)))
    x = torch.randn(shape, dtype=torch.float64)
    expected = network(x)
    state = network.state_dict()
    before = {k: v.clone() for k, v in state.items()}
    folded = fold_norms(state, [described])
    assert all(torch.equal(before[k], state[k]) for k in state), "the input state was modified"
    network.load_state_dict(folded)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(network[1].weight.square(), network[1].running_var + 1e-5)
    assert (network[1].weight > 0).all()
    if first.bias is not None:
        assert not network[0].bias.any()


def test_folding_leaves_shared_weights_and_layers_without_a_norm_alone() -> None:
    network = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    state = network.state_dict()
    shared = Layer(**{**layer("conv", bias=True).__dict__, "shared": True})
    bare = Layer(**{**layer("conv", bias=True).__dict__, "norm": None})
    for described in (shared, bare):
        assert all(torch.equal(v, state[k]) for k, v in fold_norms(state, [described]).items())


def test_reestimation_gives_the_statistics_of_all_batches() -> None:
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    network[1].momentum = 0.3
    network.train()
    data = [torch.randn(16, 5, dtype=torch.float64) for _ in range(4)]
    weights = [p.clone() for p in network.parameters()]
    assert reestimate(network, data) == 1
    features = torch.stack([network[0](x) for x in data])
    torch.testing.assert_close(network[1].running_mean, features.mean((0, 1)))
    torch.testing.assert_close(
        network[1].running_var, torch.stack([f.var(0) for f in features]).mean(0)
    )
    assert network[1].momentum == 0.3
    assert all(m.training for m in network.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    assert reestimate(nn.Linear(2, 2), data) == 0


def test_a_failing_batch_leaves_the_old_statistics() -> None:
    network = randomised(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)))
    before = network[1].running_mean.clone()
    with pytest.raises(DataError, match="cannot run on batch 1"):
        reestimate(
            network,
            [torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)],
        )
    assert torch.equal(network[1].running_mean, before)
    assert not network[1].training


def test_an_empty_loader_and_a_used_up_iterator_are_refused() -> None:
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    with pytest.raises(DataError, match="yielded no batch"):
        reestimate(network, [])
    with pytest.raises(DataError, match="can be read only once"):
        reestimate(network, iter([torch.zeros(2, 5)]))


class Pooled(nn.Module):
    """Convolution and norm, global pooling, and a norm of one value for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.hidden = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Linear(6, 8),
        )
        self.behind, self.head = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            F.relu(self.behind(self.hidden(F.relu(self.norm(self.conv(x))).mean((2, 3)))))
        )


class Context(nn.Module):
    """Segmentation with the picture's mean as context, through a norm (1 x 1 values for each
    example).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.context = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        around = F.relu(self.norm(self.context(F.adaptive_avg_pool2d(x, 1)))).expand_as(x)
        return self.head(torch.cat([x, around], 1))


class Tabular(nn.Module):
    """Hidden layers without any norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(192, 12), nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.two(F.relu(self.one(x.flatten(1))))))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "batch"), [(Pooled, 1), (Context, 4), (Tabular, 1), (Siamese, 2)])
def test_small_batches_give_the_statistics_of_all_of_the_data(
    kind: type[nn.Module], batch: int
) -> None:
    pictures = images(24)
    network = settled(kind, [pictures])
    result = merge(
        [network, copy.deepcopy(network)],
        list(pictures.split(batch)),
        align="none",
        repair="full",
        fold="average",
    )
    assert off(network, result.model, [pictures]) < (0.1 if kind is Siamese else 0.01)
    assert not any("never vary" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("kind", [Pooled, Context, Siamese])
def test_recalibration_pools_over_small_batches_of_any_size(kind: type[nn.Module]) -> None:
    pictures = images()
    network = settled(kind, [pictures])
    uneven = list(pictures.split([1, 2, 1, 5, 7, 3, 1, 4, 6, 1, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1]))
    again = recalibrate(copy.deepcopy(network), uneven)
    for own, other in zip(again.modules(), network.modules(), strict=True):
        if isinstance(own, nn.modules.batchnorm._BatchNorm):
            torch.testing.assert_close(own.running_mean, other.running_mean, rtol=0.03, atol=0.03)
            torch.testing.assert_close(own.running_var, other.running_var, rtol=0.06, atol=0.03)
    assert not again.training


def test_a_short_last_batch_is_left_out_and_larger_ones_are_averaged_as_torch_does() -> None:
    pictures = images(129)
    network = settled(Pooled, [pictures])
    whole, short = (
        recalibrate(copy.deepcopy(network), list(x.split(64))) for x in (pictures[:128], pictures)
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(value, short.state_dict()[name]), name
    plain = copy.deepcopy(network).train()
    for norm in (plain.norm, plain.behind):
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        for batch in pictures[:128].split(64):
            plain(batch)
    assert torch.equal(plain.behind.running_var, whole.behind.running_var)
    merged = [
        merge(
            [network, network], list(x.split(64)), align="none", repair="full", fold="average"
        ).model
        for x in (pictures[:128], pictures)
    ]
    assert off(*merged, [pictures]) < 0.05


def test_one_value_in_all_of_the_data_is_refused_in_a_sentence() -> None:
    network = settled(Pooled, [images()])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(
        DataError, match=r"'behind'.* one value of each channel .*pass more examples"
    ):
        recalibrate(network, [images(1)])
    with pytest.raises(
        DataError, match=r"'behind'.* one value of each channel .*pass more examples"
    ):
        repair(network, [images(1)], find_symmetries(network, images(2)), {})
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


class Some(nn.Module):
    """A norm that reads few examples of every batch, and one that reads them all."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.some = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.all(x) + self.some(x[:2]).sum(0)


UNEVEN = [3.0 * torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (9, 14, 30)]


def averaged(norm: nn.BatchNorm1d, parts: list[Tensor]) -> None:
    """The statistics are averages over the batches."""
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in parts]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in parts]).mean(0))
    assert int(norm.num_batches_tracked) == len(parts)


def pooled(norm: nn.BatchNorm1d, parts: list[Tensor]) -> None:
    """The statistics are those of all values of all batches."""
    torch.testing.assert_close(norm.running_mean, torch.cat(parts).mean(0))
    torch.testing.assert_close(norm.running_var, torch.cat(parts).var(0))
    assert int(norm.num_batches_tracked) == len(parts)


def test_a_norm_that_reads_few_values_of_large_batches_has_the_statistics_of_all_of_them() -> None:
    network = Some()
    assert reestimate(network, UNEVEN) == 2
    averaged(network.all, UNEVEN)
    pooled(network.some, [x[:2] for x in UNEVEN])


@pytest.mark.parametrize("least", [1, 7, 8])
def test_a_norm_that_reads_few_values_in_another_process_is_measured_alike_in_this_one(
    least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rank, whose batches are as empty as can be, read at least so many values."""
    gathered: list[object] = []

    def of_two(value: object) -> list[object]:
        gathered.append(value)
        return [value, [least]] if len(gathered) == 1 else [value]

    monkeypatch.setattr(batchnorm, "from_every_rank", of_two)
    network = nn.Sequential(nn.BatchNorm1d(3))
    assert reestimate(network, RankShare(UNEVEN, 0, 1)) == 1
    (pooled if least < 8 else averaged)(network[0], UNEVEN)
    assert gathered[0] == [8]  # more than enough are not counted
