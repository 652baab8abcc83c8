"""What has a mean is averaged, in any dtype; what has none is kept, listed, and named where members
differ in it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

import onefold
from onefold.errors import MembersError, WeightsError
from onefold.fold import merge


class Mixed(nn.Module):
    """Complex weights, narrow ones, integers, flags, a mask, a fixed draw, and running statistics
    of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lead, self.first, self.head = nn.Linear(6, 10), nn.Linear(10, 8), nn.Linear(8, 3)
        self.spectral = nn.Parameter(0.3 * torch.randn(5, 5, dtype=torch.complex64))
        self.phase = nn.Parameter(torch.randn(3, dtype=torch.complex128))
        self.narrow = nn.Module()
        self.narrow.gain = nn.Parameter(torch.randn(8, dtype=torch.bfloat16))
        self.register_buffer("order", torch.randperm(8))
        self.register_buffer("flags", torch.rand(8) > 0.5)
        self.register_buffer("mask", (torch.randperm(8) >= 4).float())
        self.register_buffer("draw", torch.randn(6, 6))
        self.register_buffer("positions", torch.arange(8.0))
        self.register_buffer("running_scale", torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.relu(self.lead(torch.sin(x @ self.draw))))
        x = torch.fft.irfft(torch.fft.rfft(F.relu(x)) @ self.spectral, n=8)
        x = (x * self.mask * self.narrow.gain.float() * self.running_scale + self.positions)[
            :, self.order
        ] * self.flags
        return self.head(x) + self.phase.abs().float()


def pair(kind: type[nn.Module] = Mixed) -> list[nn.Module]:
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(kind().eval())
    return members


DATA = [torch.randn(64, 6, generator=torch.Generator().manual_seed(k)) for k in range(2)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fold": "soup"},
        {"align": "permutation"},
        {"align": "permutation", "fold": "correlated_average"},
    ],
)
def test_everything_that_has_a_mean_is_averaged_and_the_rest_is_the_references(
    options: dict[str, str],
) -> None:
    a, b = pair()
    result = merge(
        [a, b], DATA, **{"fold": "average", "align": "none", "repair": "none", **options}
    )
    for name in ("spectral", "phase", "narrow.gain", "running_scale"):
        own, first, second = (m.state_dict()[name] for m in (result.model, a, b))
        assert own.dtype == first.dtype
        if name in ("spectral", "phase") or options.get("align") is None:
            wide = torch.complex128 if own.is_complex() else torch.float64
            torch.testing.assert_close(own, ((first.to(wide) + second.to(wide)) / 2).to(own.dtype))
    for name in ("order", "flags", "mask", "draw", "positions"):
        assert torch.equal(getattr(result.model, name), getattr(a, name)), name
        assert name in result.report.kept
    assert "running_scale" not in result.report.kept
    (warning,) = [w for w in result.report.warnings if "cannot be averaged" in w]
    assert "from member 0" in warning
    assert all(name in warning for name in ("order", "flags", "mask (a mask of 0 and 1)", "draw"))
    assert "positions" not in warning


def test_members_that_agree_are_not_warned_of_and_come_out_bit_for_bit() -> None:
    a = pair()[0]
    result = merge([a, copy.deepcopy(a)], align="none", repair="none", fold="average")
    assert not [
        warning for warning in result.report.warnings if "hold the same weights" not in warning
    ]
    assert all(
        torch.equal(value, result.model.state_dict()[name])
        for name, value in a.state_dict().items()
    )


def test_a_member_of_all_weight_is_the_result_in_everything() -> None:
    a, b = pair()
    result = merge([a, b], align="none", repair="none", weights=[0, 1], fold="average")
    assert all(
        torch.equal(value, result.model.state_dict()[name])
        for name, value in b.state_dict().items()
    )
    assert any("from member 1" in warning for warning in result.report.warnings)


def test_pruning_masks_are_no_means_and_a_norms_frozen_tensors_go_with_its_statistics() -> None:
    class Pruned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(6, 4), nn.Module()
            prune.random_unstructured(self.layer, "weight", 0.5)
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.norm.register_buffer(name, torch.rand(4))

        def forward(self, x: Tensor) -> Tensor:
            scale = self.norm.weight / self.norm.running_var.sqrt()
            return (self.layer(x) - self.norm.running_mean) * scale + self.norm.bias

    a, b = pair(Pruned)
    result = merge([a, b], align="none", repair="none", fold="average")
    assert set(result.model.layer.weight_mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(
        result.model.layer.weight_orig, (a.layer.weight_orig + b.layer.weight_orig) / 2
    )
    torch.testing.assert_close(result.model.norm.weight, (a.norm.weight + b.norm.weight) / 2)
    assert list(result.report.kept) == ["layer.weight_mask"]
    assert any(
        "layer.weight_mask (a mask of 0 and 1)" in warning for warning in result.report.warnings
    )


def test_fixed_draws_that_are_parameters_or_are_not_saved_are_named() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.draw, self.head = (
                nn.Parameter(torch.randn(6, 6), requires_grad=False),
                nn.Linear(6, 3),
            )
            self.register_buffer("rotation", torch.randn(6, 6), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cos(x @ self.draw @ self.rotation))

    said = " ".join(merge(pair(Fixed), align="none", repair="none", fold="average").report.warnings)
    assert "rotation (a buffer that is not saved)" in said
    assert "not trained, which were averaged: draw" in said


def test_gates_of_layers_weigh_complex_tensors_and_learn_from_them() -> None:
    a, b = pair()
    soft = onefold.SoftMerge([a, b], level="layer", align="none", reference=0, screen=False, seed=0)
    soft.train()
    with torch.no_grad():
        soft.gate.log_alpha.copy_(
            torch.linspace(-0.5, 0.5, soft.gate.log_alpha.numel()).reshape(
                soft.gate.log_alpha.shape
            )
        )
    loss = soft(DATA[0]).square().mean()
    loss.backward()
    row = (
        [site.name for site in soft.sites].index("spectral")
        if "spectral" in [s.name for s in soft.sites]
        else 0
    )
    gradient = soft.gate.log_alpha.grad
    assert gradient is not None
    step = 1e-2
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            soft.gate.log_alpha[row, 0] += sign * step
            values.append(float(soft(DATA[0]).square().mean()))
            soft.gate.log_alpha[row, 0] -= sign * step
    assert float(gradient[row, 0]) == pytest.approx(
        (values[0] - values[1]) / (2 * step), rel=0.05, abs=1e-4
    )
    hard = soft.eval().harden()
    assert hard.spectral.is_complex()
    assert not torch.equal(hard.spectral, a.spectral)
    torch.testing.assert_close(hard(DATA[0]), soft(DATA[0]))


def test_complex_weights_are_saved_and_loaded_or_refused_in_a_sentence(tmp_path: Path) -> None:
    network = pair()[0]
    onefold.save(network, tmp_path / "all.pt")
    found = onefold.load(tmp_path / "all.pt")
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
    with pytest.raises(WeightsError, match=r"'phase', which is complex128.* save to \.pt"):
        onefold.save(network, tmp_path / "all.safetensors")
    assert not (tmp_path / "all.safetensors").exists()
    narrow = {name: value for name, value in network.state_dict().items() if name != "phase"}
    onefold.save(narrow, tmp_path / "narrow.safetensors")
    assert torch.equal(onefold.load(tmp_path / "narrow.safetensors")["spectral"], network.spectral)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(x))))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float16])
def test_members_of_another_precision_are_cast_to_the_references(dtype: torch.dtype) -> None:
    a, b = pair(Small)
    other = copy.deepcopy(b).to(dtype)
    cast = copy.deepcopy(other).float()
    result = merge([a, other], DATA, align="permutation", fold="average")
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    wanted = merge([a, cast], DATA, align="permutation", fold="average").model
    assert all(
        torch.equal(value, wanted.state_dict()[name])
        for name, value in result.model.state_dict().items()
    )
    assert {p.dtype for p in other.parameters()} == {dtype}
    assert len(onefold.align([a, other], DATA, method="permutation").apply([a, other])) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_members_without_data_are_refused_in_a_sentence_that_names_them(which: int) -> None:
    members = pair(Small)
    members[which] = copy.deepcopy(members[which]).to("meta")
    with pytest.raises(
        (WeightsError, MembersError),
        match=rf"[Mm]ember {which} holds .*meta tensor.*load the network's weights",
    ):
        merge(members, DATA, align="permutation", fold="average")
