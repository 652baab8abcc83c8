"""Scales of norms move into the weights behind them where nothing else reads them; then the whole
residual stream may turn.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from onefold.errors import SymmetryError
from onefold.symmetry import (
    SymmetrySpec,
    apply_maps,
    find_symmetries,
    fold_scales,
    prune,
    verify_symmetries,
)
from onefold.symmetry.drawing import random_map
from onefold.symmetry.maps import fibre_shape


def randomised(model: nn.Module) -> nn.Module:
    model = model.double().eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


class Residual(nn.Module):
    """A stream that branches read through norms, with biases, and a head behind a last norm."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.into = nn.Linear(4, 8)
        self.norms = nn.ModuleList(norm(8) for _ in range(3))
        self.up, self.gate, self.down = nn.Linear(8, 10), nn.Linear(8, 10), nn.Linear(10, 8)
        self.again, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        y = self.norms[0](x)
        x = x + self.down(F.gelu(self.up(y)) * self.gate(y))
        x = x + self.again(self.norms[1](x).unsqueeze(1)).squeeze(1)
        return self.head(self.norms[2](x))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_folding_keeps_the_function_and_lets_the_stream_turn(
    norm: Callable[[int], nn.Module],
) -> None:
    model, x = randomised(Residual(norm)), torch.randn(5, 4, dtype=torch.float64)
    spec = find_symmetries(model, x)
    kind = "orthogonal_mean" if norm is nn.LayerNorm else "orthogonal"
    (stream,) = [group for group in spec.groups if group.folded]
    assert kind in stream.folded
    assert kind not in stream.maps
    assert [fold.scale for fold in spec.scales] == [f"norms.{k}.weight" for k in range(3)]
    assert spec.scales[0].consumers == (("up.weight", 1), ("gate.weight", 1))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_scales(state, spec)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(folded["norms.1.weight"], torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(
        functional_call(model, folded, (x,)), model(x), rtol=1e-12, atol=1e-12
    )
    turn = random_map(8, fibre_shape(spec, stream), kind, torch.Generator().manual_seed(0))
    with pytest.raises(SymmetryError, match="apply fold_scales first"):
        apply_maps(state, spec, {stream.name: turn})
    turned = apply_maps(folded, spec, {stream.name: turn})
    assert not torch.allclose(turned["into.weight"], folded["into.weight"])
    torch.testing.assert_close(
        functional_call(model, turned, (x,)), model(x), rtol=1e-12, atol=1e-12
    )
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
    assert proof.classes[f"{kind} with folded scales"] == 1
    assert SymmetrySpec.from_json(spec.to_json()) == spec
    assert "once scales are folded" in str(spec)


def test_a_written_norm_folds_like_its_operator() -> None:
    model, x = zoo.Grouped(), zoo.tokens()
    spec = find_symmetries(model, x)
    assert len(spec.scales) == 3
    assert dict(spec.scales[0].consumers) == {"q.weight": 1, "k.weight": 1, "v.weight": 1}


class Scaled(nn.Module):
    """A stream behind one scaled norm, whose scale can be folded only in the first case."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.into, self.a, self.b, self.head = (
            nn.Linear(4, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 2),
        )
        self.norm, self.case = nn.RMSNorm(6), case

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        y = self.norm(x)
        if self.case == "added":
            return self.head(x + self.a(y) + y)
        if self.case == "read by a nonlinearity":
            return self.head(x + self.a(y) + self.b(y.tanh()))
        if self.case == "a weight that reads more":
            return self.head(x + self.a(y) + self.a(x))
        if self.case == "a scale used twice":
            return self.head(x + self.a(y) + self.b(self.norm(x * 2)))
        if self.case == "an output":
            return torch.cat([self.head(x + self.a(y)), y], -1)
        if self.case == "an inner product":
            return self.head(x + self.a(y)) + (y @ y.t()).sum(-1, keepdim=True)
        return self.head(x + self.a(y.to(x.dtype)[:, None].flatten(1)) + self.b(y))


@pytest.mark.parametrize(
    "case",
    [
        "plain",
        "added",
        "read by a nonlinearity",
        "a weight that reads more",
        "a scale used twice",
        "an output",
        "an inner product",
    ],
)
def test_a_scale_folds_only_into_weights_that_read_nothing_else(case: str) -> None:
    model, x = Scaled(case), torch.randn(5, 4)
    spec = find_symmetries(model, x)
    assert len(spec.scales) == (case == "plain")
    assert any(group.folded for group in spec.groups) == (case == "plain")
    assert verify_symmetries(spec, model, x).passed


def test_a_tied_head_holds_the_last_scale() -> None:
    assert find_symmetries(zoo.Decoder(), zoo.tokens()).scales == ()


def test_zeros_in_a_scale() -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    for norm, folds in ((nn.RMSNorm, True), (nn.LayerNorm, False)):
        model = randomised(Residual(norm))
        nn.init.zeros_(model.norms[0].weight[:2])
        spec = find_symmetries(model, x)
        if folds:
            torch.testing.assert_close(
                functional_call(model, fold_scales(model.state_dict(), spec), (x,)),
                model(x),
                rtol=1e-12,
                atol=1e-12,
            )
        else:
            with pytest.raises(SymmetryError, match="has zeros where"):
                fold_scales(model.state_dict(), spec)


def test_precision_and_missing_tensors() -> None:
    model = Residual(nn.RMSNorm)
    spec = find_symmetries(model, torch.randn(5, 4))
    half = copy.deepcopy(model).to(torch.bfloat16).state_dict()
    assert all(tensor.dtype == torch.bfloat16 for tensor in fold_scales(half, spec).values())
    half.pop("gate.weight")
    with pytest.raises(SymmetryError, match=r"lacks 'gate\.weight'"):
        fold_scales(half, spec)


def test_a_wrong_claim_is_refuted_and_pruned() -> None:
    model, x = Residual(nn.LayerNorm), torch.randn(5, 4)
    spec = find_symmetries(model, x)
    claims = tuple(
        dataclasses.replace(g, folded=g.folded | {"orthogonal"}) if g.folded else g
        for g in spec.groups
    )
    wrong = dataclasses.replace(spec, groups=claims)
    assert not verify_symmetries(wrong, model, x).passed
    found = prune(wrong, model, x)
    assert found.dropped == ()
    assert found.spec == spec


class Masked(nn.Module):
    """The mean over positions of a norm's output, of which some are masked; or, `along`,
    coordinates are weighed one by one.
    """

    def __init__(self, along: bool = False) -> None:
        super().__init__()
        self.into, self.norm, self.head = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        self.along = along

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm(self.into(x))
        if self.along:
            return self.head((y * torch.linspace(0.5, 1.5, 8, dtype=y.dtype)).sum(1))
        return self.head((mask.unsqueeze(-1) * y).sum(1) / mask.sum(1, keepdim=True))


def test_a_mask_of_positions_lets_a_scale_fold_and_weights_of_coordinates_do_not() -> None:
    x, mask = torch.randn(5, 6, 4, dtype=torch.float64), torch.ones(5, 6, dtype=torch.float64)
    mask[:, 4:] = 0
    model = randomised(Masked())
    spec = find_symmetries(model, {"x": x, "mask": mask})
    (stream,) = [group for group in spec.groups if group.size == 8]
    assert "orthogonal_mean" in stream.folded
    turned = random_map(8, (), "orthogonal_mean", torch.Generator().manual_seed(0))
    moved = apply_maps(fold_scales(model.state_dict(), spec), spec, {stream.name: turned})
    torch.testing.assert_close(functional_call(model, moved, (x, mask)), model(x, mask))
    other = find_symmetries(randomised(Masked(along=True)), {"x": x, "mask": mask})
    assert not any(group.folded for group in other.groups)
