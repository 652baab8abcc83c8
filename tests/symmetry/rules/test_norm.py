"""Norms: which let scales or rotations of the stream through, whatever their eps, by the proof."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from proved_specs import groups_of, proved
from torch import Tensor, nn

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries


class Normed(nn.Module):
    """A layer, a norm of its channels, ReLU and another layer, over 1, 2 or 3 axes of space."""

    def __init__(self, norm: nn.Module, space: int = 2) -> None:
        super().__init__()
        layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[space]
        self.a, self.norm, self.b = layer(3, 8, 1), norm, layer(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.norm(self.a(x)))).flatten(2).mean(-1)


class Measured(nn.Module):
    """A batch norm that measures its batch in evaluation too, though it has running statistics."""

    def __init__(self, eps: float = 1e-2) -> None:
        super().__init__()
        self.norm, self.eps = nn.BatchNorm2d(8, eps=eps), eps

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, True, eps=self.eps)


class Native(nn.Module):
    """The same norm by the operator that also returns what it measured."""

    def __init__(self, training: bool = False) -> None:
        super().__init__()
        self.norm, self.measures = nn.BatchNorm2d(8, eps=1e-2), training

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        own = (None, None) if self.measures else (n.running_mean, n.running_var)
        return torch.native_batch_norm(x, n.weight, n.bias, *own, self.measures, 0.1, n.eps)[0]


class OfTwo(nn.Module):
    """One running variance under two norms of another eps each: no one variance suits both."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        return sum(
            F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, False, eps=eps)
            for eps in (1e-5, 1e-1)
        )  # type: ignore[return-value]


class Computed(nn.Module):
    """A running variance that is kept as a deviation and squared on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.mean, self.deviation = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        variance = self.deviation**2
        return F.batch_norm(x, self.mean, variance, self.weight, self.bias, False, eps=1e-2)


def instance(space: int, **options: object) -> nn.Module:
    kind = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[space]
    return Normed(kind(8, **options), space)  # type: ignore[arg-type]


TRACKED = {"affine": True, "track_running_stats": True}
# name -> network, space, and whether a positive scale of the normalised channels keeps the function
NORMS: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    **{
        f"tracked instance norm {space}d, eps {eps}": (
            lambda space=space, eps=eps: instance(space, eps=eps, **TRACKED),
            space,
            True,
        )
        for space, eps in ((1, 1e-5), (2, 1e-5), (2, 0.0), (2, 1e-2), (3, 0.5))
    },
    "tracked instance norm without weights": (
        lambda: instance(2, eps=1e-2, track_running_stats=True),
        2,
        False,
    ),
    "instance norm": (lambda: instance(2, eps=1e-2, affine=True), 2, False),
    "batch norm, large eps": (lambda: Normed(nn.BatchNorm2d(8, eps=0.5)), 2, True),
    "batch norm without weights": (lambda: Normed(nn.BatchNorm2d(8, affine=False)), 2, False),
    "batch norm without statistics": (
        lambda: Normed(nn.BatchNorm2d(8, eps=1e-2, track_running_stats=False)),
        2,
        False,
    ),
    "batch norm that measures its batch": (lambda: Normed(Measured()), 2, False),
    "native batch norm": (lambda: Normed(Native()), 2, True),
    "native batch norm that measures": (lambda: Normed(Native(training=True)), 2, False),
    "one variance, two eps": (lambda: Normed(OfTwo()), 2, False),
    "a computed variance": (lambda: Normed(Computed()), 2, False),
    "group norm": (lambda: Normed(nn.GroupNorm(4, 8, eps=1e-2)), 2, False),
}


def spec_of(name: str) -> tuple[SymmetrySpec, nn.Module, Tensor]:
    torch.manual_seed(0)
    make, space, _ = NORMS[name]
    model, x = make().eval(), torch.randn(5, 3, *[6, 5, 4][:space])
    return find_symmetries(model, x), model, x


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_scales_are_claimed_where_they_keep_the_function_and_only_there(name: str) -> None:
    spec, model, x = spec_of(name)
    found = {slot.tensor: group for group in spec.groups for slot in group.slots}
    assert "permutation" in found["a.weight"].maps, str(spec)
    assert ("scale" in found["a.weight"].maps) is NORMS[name][2]
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)


def test_eps_of_every_norm_is_part_of_the_spec() -> None:
    spec, _, _ = spec_of("tracked instance norm 2d, eps 0.01")
    assert spec.epsilons == {"norm.running_var": 0.01}
    assert not spec.norms  # no batch norm, which the layer before could take up
    assert SymmetrySpec.from_json(spec.to_json()) == spec


ROTATIONS = {"permutation", "sign", "orthogonal", "orthogonal_mean"}


def test_a_norm_without_a_scale_of_its_own_lets_the_whole_stream_rotate() -> None:
    plain, scaled = (
        groups_of(find_symmetries(zoo.Grouped(affine=affine), zoo.tokens()), "table.weight", 1)[0]
        for affine in (False, True)
    )
    assert plain.maps == ROTATIONS
    assert scaled.maps == {"permutation", "sign"}


class Written(nn.Module):
    """A norm written out, as many networks have it."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 6), nn.Linear(6, 3), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x)))


WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], set[str]]] = {
    "mean of squares": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        ROTATIONS,
    ),
    "square": (lambda x: x / torch.sqrt(torch.square(x).sum(-1, keepdim=True) + 1e-6), ROTATIONS),
    "length": (lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-6), ROTATIONS),
    "normalize": (lambda x: F.normalize(x, dim=-1), ROTATIONS),
    "sum of absolute values": (lambda x: x / x.norm(p=1, dim=-1, keepdim=True), {"permutation"}),
    "in float32": (
        lambda x: (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(
            x.dtype
        ),
        ROTATIONS,
    ),
    "layer norm": (
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt(),
        {"permutation", "orthogonal_mean"},
    ),
    "squares that are read": (lambda x: x.pow(2), {"permutation"}),
    "squares summed over the batch": (lambda x: x * x.pow(2).sum(0, keepdim=True), {"permutation"}),
    "cubes": (lambda x: x * x.pow(3).mean(-1, keepdim=True), {"permutation"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_norms_written_out_allow_what_they_keep(name: str) -> None:
    function, classes = WRITTEN[name]
    assert groups_of(proved(Written(function), torch.randn(3, 4)), "b.weight", 1)[0].maps == classes
