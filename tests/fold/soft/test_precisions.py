"""Soft merges under autocast, in other precisions and on a CUDA device."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, loader
from soft_networks import (
    TEST,
    VisionTransformer,
    inputs_for,
    labelled,
    random_members,
    set_gates,
    unaligned,
)
from torch import nn

import onefold
from onefold.fold import SoftMerge, fit_gates

LEVELS = ["model", "module", "layer"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Plain, Residual, VisionTransformer])
def test_a_training_step_under_autocast(kind: type[nn.Module], level: str) -> None:
    soft = unaligned(random_members(kind, 3), level, stochastic=False).train()
    optimiser = torch.optim.Adam(soft.parameters(), 0.1)
    x, labels = inputs_for(kind), torch.arange(64) % 4
    before = soft.gate.log_alpha.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(soft(x), labels) + 0.01 * soft.penalty()
    loss.backward()
    assert soft.gate.log_alpha.grad is not None
    assert bool(soft.gate.log_alpha.grad.isfinite().all())
    assert float(soft.gate.log_alpha.grad.abs().max()) > 0
    optimiser.step()
    assert not torch.equal(before, soft.gate.log_alpha)
    assert soft.gate.log_alpha.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("level", LEVELS)
def test_members_of_other_precisions(
    residual: list[nn.Module], level: str, dtype: torch.dtype
) -> None:
    networks = [copy.deepcopy(network).to(dtype) for network in residual[:2]]
    data = [(x.to(dtype), y) for x, y in loader(256)]
    result = fit_gates(
        SoftMerge(networks, level, align="none" if level == "model" else "permutation"),
        data,
        steps=3,
    )
    assert result.losses
    assert all(torch.isfinite(torch.tensor(result.losses)))
    hardened = result.soft.harden()
    assert {p.dtype for p in hardened.parameters()} == {dtype}
    test = [(x.to(dtype), y) for x, y in TEST]
    assert hardened(test[0][0]).dtype == dtype
    assert onefold.evaluate(result.model, test).accuracy > 0.85


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_on_a_cuda_device(kind: type[nn.Module], level: str) -> None:
    here, there = (unaligned(random_members(kind, 3), level).eval() for _ in range(2))
    there = unaligned([network.to("cuda") for network in there.members], level).to("cuda").eval()
    for soft in (here, there):
        set_gates(soft)
    x = inputs_for(kind)
    with torch.no_grad():
        torch.testing.assert_close(there(x.to("cuda")).cpu(), here(x), rtol=1e-3, atol=1e-3)
        assert torch.equal(there.harden()(x.to("cuda")), there(x.to("cuda")))
    result = fit_gates(there, labelled(kind), steps=3)
    assert next(result.model.parameters()).device.type == "cuda"
