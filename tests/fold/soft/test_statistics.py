"""Statistics of norms: which are measured again after gating, and where."""

from __future__ import annotations

import copy

import torch
from small_networks import loader
from soft_networks import bits, keep_only, same_bits, set_gates, unaligned
from torch import Tensor, nn

from onefold.fold import SoftMerge


def test_only_norms_that_are_gated_are_measured(residual: list[nn.Module]) -> None:
    soft = SoftMerge(
        residual,
        "layer",
        include=["conv2", "norm2"],
        align="permutation",
        reference=0,
        data=loader(256),
    )
    set_gates(soft)
    assert soft.recalibrate(loader(256, seed=8)) == 1
    hardened = soft.harden()
    for name in ("norm0", "norm1"):
        assert same_bits(bits(hardened.get_submodule(name)), bits(residual[0].get_submodule(name)))
    assert not torch.equal(hardened.norm2.running_mean, residual[0].norm2.running_mean)
    assert unaligned(residual, "layer", include="conv*").recalibrate(loader(64)) == 0


def test_statistics_are_measured_behind_ungated_norms_in_eval_mode(
    residual: list[nn.Module],
) -> None:
    soft = unaligned(residual, "layer", include=["conv2", "norm2"])
    set_gates(soft)
    data = loader(256, seed=8)
    soft.recalibrate(data)
    hardened = soft.harden()
    seen: list[Tensor] = []
    hardened.conv2.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    with torch.no_grad():
        for x, _ in data:
            hardened(x)
    torch.testing.assert_close(hardened.norm2.running_mean, torch.cat(seen).mean((0, 2, 3)))


def test_norms_in_mixtures_are_measured_where_they_stand(residual: list[nn.Module]) -> None:
    """A norm behind a mixture sees sums of members' features, whose deviations are smaller than its
    own member's.
    """
    before = [copy.deepcopy(bits(network)) for network in residual]
    soft = unaligned(residual, "module")
    set_gates(soft)
    with torch.no_grad():
        soft.gate.log_alpha[:, 2] = -10.0  # out everywhere
    data = loader(256, seed=8)
    with torch.no_grad():
        before_training = soft.eval()(data[0][0])
        training = soft.train()(data[0][0])  # the statistics of the batch
        evaluated = soft.eval()(data[0][0])
    torch.testing.assert_close(
        evaluated, before_training, rtol=0, atol=0
    )  # a step in training mode leaves no trace
    norms = [site.name for site in soft.sites if site.name.startswith("norm")]
    assert soft.recalibrate(data) == 2 * len(norms)
    hardened = soft.harden()
    seen: dict[str, list[Tensor]] = {name: [] for name in norms}
    for name in norms:
        hardened.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: seen[name].append(args[0].detach())
        )
    with torch.no_grad():
        for x, _ in data:
            hardened(x)
    first = norms[0]  # nothing before it is measured, so that its input is the same in both passes
    for part in hardened.get_submodule(first).parts:
        torch.testing.assert_close(part.running_mean, torch.cat(seen[first]).mean((0, 2, 3)))
    assert not torch.allclose(training, evaluated)
    assert not torch.allclose(soft(data[0][0]), evaluated)
    torch.testing.assert_close(
        soft.train()(data[0][0]), training
    )  # training keeps no statistics, whatever was measured
    assert all(same_bits(bits(network), old) for network, old in zip(residual, before, strict=True))
    keep_only(soft, 2)  # nothing was measured for the idle member, which is itself as before
    with torch.no_grad():
        torch.testing.assert_close(soft.eval()(data[0][0]), residual[2].eval()(data[0][0]))
