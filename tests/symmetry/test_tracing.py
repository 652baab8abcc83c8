"""Tracing leaves the network alone, and says why a network cannot be traced."""

from __future__ import annotations

import pytest
import torch
from static_networks import Static
from torch import Tensor, nn

from onefold.errors import TraceError
from onefold.sources.networks import digits, resnet20
from onefold.symmetry import find_symmetries, trace
from onefold.symmetry.tracing import TracedNetwork


def test_what_cannot_be_traced_says_so_and_names_the_way_out() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError) as caught:
        find_symmetries(Branches(), torch.randn(2, 3))
    message = str(caught.value)
    assert message.startswith("torch.export cannot trace Branches (")
    assert 'align="none"' in message
    assert "--align none" in message
    assert "\n" not in message


def test_the_model_keeps_its_modes() -> None:
    model = resnet20(0.25)
    model.layer2.eval()
    modes = [module.training for module in model.modules()]
    trace(model, (torch.randn(2, 3, 16, 16),))
    assert [module.training for module in model.modules()] == modes
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in model.parameters()
    )


def fingerprint(model: nn.Module, *shape: int) -> str:
    traced: TracedNetwork = trace(model, (torch.randn(*shape),))
    return traced.fingerprint


def test_fingerprints_tell_architectures_apart_but_not_weights_or_batch_sizes() -> None:
    same = {
        fingerprint(digits(8), 2, 1, 8, 8),
        fingerprint(digits(8), 5, 1, 8, 8),
        fingerprint(digits(8), 1, 1, 8, 8),
    }
    assert len(same) == 1
    assert fingerprint(digits(9), 2, 1, 8, 8) not in same
    first, second = (
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
    )
    assert fingerprint(first, 2, 4) != fingerprint(second, 2, 4)
    assert fingerprint(Static(), 3, 4) == fingerprint(Static(), 6, 4)
    strided = [nn.Conv2d(1, 2, 3, stride=stride, padding=1) for stride in (1, 2)]
    assert fingerprint(strided[0], 2, 1, 8, 8) != fingerprint(strided[1], 2, 1, 8, 8)
