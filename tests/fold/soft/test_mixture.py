"""Mixtures of outputs at module and model level."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Residual
from soft_networks import (
    TEST,
    accuracy,
    addresses,
    bits,
    inputs_for,
    keep_only,
    quick,
    random_members,
    same_bits,
    set_gates,
    unaligned,
)
from torch import Tensor, nn

from onefold.fold import Mixture, SoftMerge


def test_at_module_level_shut_gates_go_and_one_that_is_left_gives_a_plain_network() -> None:
    networks = random_members(Residual, 3)
    soft = unaligned(networks, "module").eval()
    soft.gate.log_alpha.data.copy_(torch.tensor([[5.0, -5.0, -5.0]]).expand(len(soft.sites), 3))
    soft.gate.log_alpha.data[2] = torch.tensor([-5.0, 0.2, 0.1])
    soft.gate.log_alpha.data[3] = torch.tensor([-5.0, -5.0, 5.0])
    x = inputs_for(Residual)
    hardened = soft.harden()
    with torch.no_grad():
        assert torch.equal(hardened(x), soft(x))
    mixtures = {name: m for name, m in hardened.named_modules() if isinstance(m, Mixture)}
    assert list(mixtures) == [soft.sites[2].name]
    assert len(mixtures[soft.sites[2].name].parts) == 2
    assert isinstance(
        hardened.get_submodule(soft.sites[3].name),
        type(networks[2].get_submodule(soft.sites[3].name)),
    )
    assert same_bits(
        bits(hardened.get_submodule(soft.sites[3].name)),
        bits(networks[2].get_submodule(soft.sites[3].name)),
    )
    assert all(p.requires_grad for p in hardened.parameters())
    assert not addresses([hardened]) & addresses(networks)
    keep_only(soft, 1)
    alone = soft.harden()
    assert type(alone) is Residual
    assert not any(isinstance(m, Mixture) for m in alone.modules())
    assert same_bits(bits(alone), bits(networks[1]))


class Bare(nn.Module):
    """Another architecture with the same outputs, returned as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"hidden": x.flatten(1), "logits": self.head(x.flatten(1))}


def test_at_model_level_architectures_may_differ(
    plain: list[nn.Module], residual: list[nn.Module]
) -> None:
    torch.manual_seed(0)
    networks = [plain[0], residual[0], Bare().eval()]
    soft = SoftMerge(networks, "model", screen=False).eval()
    gates = set_gates(soft)[0]
    x = TEST[0][0]
    expected = (
        gates[0] * plain[0](x) + gates[1] * residual[0](x) + gates[2] * networks[2](x)["logits"]
    )
    torch.testing.assert_close(soft(x), expected)
    with torch.no_grad():
        assert torch.equal(soft.harden()(x), soft(x))
    result = quick(SoftMerge(networks, "model"), steps=50)
    assert accuracy(result.model) > 0.95


@pytest.mark.parametrize("stochastic", [True, False])
def test_outputs_are_summed_as_logits_or_as_probabilities(
    plain: list[nn.Module], stochastic: bool
) -> None:
    x = TEST[0][0]
    for outputs in ("logits", "probabilities"):
        soft = SoftMerge(plain, "model", outputs=outputs, stochastic=stochastic).train(stochastic)
        twin = copy.deepcopy(soft.gate)
        set_gates(soft)
        twin.log_alpha.data.copy_(soft.gate.log_alpha)
        gates = twin(stochastic)[0].detach()
        each = torch.stack([n(x).detach() for n in plain])
        if outputs == "logits":
            expected = (gates[:, None, None] * each).sum(0)
        else:
            expected = (gates[:, None, None] * each.softmax(-1)).sum(0).log()
        torch.testing.assert_close(soft(x).detach(), expected, rtol=1e-4, atol=1e-4)
        if not stochastic:
            torch.testing.assert_close(soft.harden()(x).detach(), expected, rtol=1e-4, atol=1e-4)
    result = quick(SoftMerge(plain, "model", outputs="probabilities"), steps=30, fallback=False)
    with torch.no_grad():
        torch.testing.assert_close(result.model(x).softmax(-1), result.soft(x).exp())


class Counting(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> dict[str, object]:
        self.calls += 1
        return {
            "out": self.factor * x,
            "pair": (x, 2 * self.factor * x),
            "count": 3,
            "index": torch.arange(2) + int(self.factor),
        }


def test_a_mixture_sums_nested_outputs_and_does_not_run_parts_of_weight_zero() -> None:
    parts = [Counting(2.0), Counting(float("nan")), Counting(6.0)]
    x = torch.randn(3, 2)
    found = Mixture(parts, torch.tensor([0.25, 0.0, 0.75]))(x)
    assert [part.calls for part in parts] == [1, 0, 1]
    torch.testing.assert_close(found["out"], 5.0 * x)
    torch.testing.assert_close(found["pair"][1], 10.0 * x)
    assert found["count"] == 3
    assert found["index"].tolist() == [2, 3]
    alone = Mixture(parts, torch.tensor([0.0, 0.0, 1.0]))(x)
    torch.testing.assert_close(alone["out"], 6.0 * x)
    assert [part.calls for part in parts] == [1, 0, 2]
