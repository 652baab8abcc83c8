"""Soft merging as a whole: what is shared, changed and kept."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from small_networks import Residual, loader
from soft_networks import (
    KINDS,
    bits,
    inputs_for,
    keep_only,
    outside,
    quick,
    random_members,
    same_bits,
    set_gates,
    unaligned,
)
from torch import nn

from onefold.fold import SoftMerge

LEVELS = ["model", "module", "layer"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_log_alphas_are_the_only_parameters(kind: type[nn.Module], level: str) -> None:
    soft = unaligned(random_members(kind, 3), level)
    assert [name for name, _ in soft.named_parameters()] == ["gate.log_alpha"]
    assert set(soft.state_dict()) == {"gate.log_alpha", "gate.alive", "gate._extra_state"}
    rows = {"model": 1, "module": len(soft.sites), "layer": len(soft.sites)}[level]
    assert soft.gate.log_alpha.shape == (rows, 3)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("how", ["none", "permutation", "auto"])
def test_members_are_left_bit_for_bit_as_they_were(
    plain: list[nn.Module], residual: list[nn.Module], level: str, how: str
) -> None:
    for trained in (plain, residual) if how != "auto" else (plain,):
        networks = copy.deepcopy(trained)
        networks[0].train()
        networks[1].head.weight.requires_grad_(False)
        networks[2].head.bias.grad = torch.full_like(networks[2].head.bias, 3.0)
        before = [bits(n) for n in networks]
        flags = [
            [m.training for m in n.modules()] + [p.requires_grad for p in n.parameters()]
            for n in networks
        ]
        memory = [[t.data_ptr() for t in n.state_dict().values()] for n in networks]
        quick(SoftMerge(networks, level, align=how))
        assert all(same_bits(bits(n), b) for n, b in zip(networks, before, strict=True))
        assert flags == [
            [m.training for m in n.modules()] + [p.requires_grad for p in n.parameters()]
            for n in networks
        ]
        assert memory == [[t.data_ptr() for t in n.state_dict().values()] for n in networks]
        assert networks[2].head.bias.grad.tolist() == [3.0] * 4
        assert all(
            p.grad is None
            for n in networks
            for name, p in n.named_parameters()
            if n is not networks[2] or name != "head.bias"
        )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_shared_and_not_copied(kind: type[nn.Module], level: str) -> None:
    """What is changed in a member's own matrices changes the outputs of the mixture."""
    networks, x = random_members(kind, 3), inputs_for(kind, 4)
    soft = unaligned(networks, level).eval()
    set_gates(soft)
    gated = tuple(site.name for site in soft.sites) if level != "model" else ("",)
    with torch.no_grad():
        before = soft(x)
        for number, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                if parameter.dim() < 2 or (number and not name.startswith(gated)):
                    continue  # norms are put together once; what is not gated is the reference's
                old = parameter.clone()
                parameter.add_(
                    0.5 * torch.randn(old.shape, generator=torch.Generator().manual_seed(0))
                )
                assert not torch.equal(soft(x), before), name
                parameter.copy_(old)
        torch.testing.assert_close(soft(x), before)


@pytest.mark.parametrize("level", LEVELS)
def test_same_seed_same_bits(plain: list[nn.Module], level: str) -> None:
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(results))
        soft = SoftMerge(plain, level, align="none", stochastic=True, seed=seed)
        results.append(quick(soft, steps=8, seed=seed, fallback=False))
    assert results[0].losses == results[1].losses
    assert torch.equal(results[0].soft.gate.log_alpha, results[1].soft.gate.log_alpha)
    assert same_bits(bits(results[0].model), bits(results[1].model))
    assert results[0].losses != results[2].losses


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda soft: pickle.loads(pickle.dumps(soft))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("level", LEVELS)
def test_copies_are_independent(level: str, copied: object) -> None:
    soft = unaligned(random_members(Residual, 3), level).eval()
    set_gates(soft)
    x = inputs_for(Residual)
    twin = copied(soft)  # type: ignore[operator]
    with torch.no_grad():
        before = soft(x)
        assert torch.equal(twin(x), before)
        keep_only(twin, 1)
        assert not torch.equal(twin(x), before)
        assert torch.equal(soft(x), before)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["none", "permutation"])
@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize(
    "include", [["conv1", "norm1"], ["conv1"], ["norm0"], ["head"], ["conv*"]], ids=" ".join
)
def test_what_is_not_included_stays_bitwise_the_references(
    residual: list[nn.Module], level: str, how: str, include: list[str]
) -> None:
    soft = SoftMerge(residual, level, include=include, align=how, reference=1, data=loader(256))
    set_gates(soft)
    soft.recalibrate(loader(256, seed=8))
    hardened = soft.harden()
    prefixes = ("conv",) if include == ["conv*"] else tuple(f"{name}." for name in include)
    assert same_bits(outside(hardened, prefixes), outside(residual[1], prefixes))
    assert (
        any(
            not torch.equal(v, bits(hardened)[k])
            for k, v in bits(residual[1]).items()
            if k in bits(hardened)
        )
        or level == "module"
    )
