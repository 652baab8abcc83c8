"""The hardened network is the gated one bit for bit, and a plain network of the members' class."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Residual
from soft_networks import (
    KINDS,
    WithoutAffine,
    as_rows,
    difference,
    inputs_for,
    labelled,
    layer_level,
    random_members,
    set_gates,
)
from torch import nn


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16], ids=["float32", "float64", "bfloat16"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_hardened_network_is_the_gated_one_bit_for_bit(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    members = random_members(kind, 3, dtype)
    soft = layer_level(members)
    set_gates(soft, spread=2.5)
    x = inputs_for(kind, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(soft.harden()(x), soft(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "plain"])
def test_the_hardened_network_is_the_gated_one_bit_for_bit_after_recalibration(
    kind: type[nn.Module], normalize: bool
) -> None:
    members = random_members(kind, 3)
    soft = layer_level(members, normalize=normalize)
    set_gates(soft)
    x = inputs_for(kind)
    with torch.no_grad():
        before = soft(x)
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in members[0].modules())
        assert soft.recalibrate(labelled(kind)) == norms
        after = soft(x)
        assert torch.equal(soft.harden()(x), after)
    assert torch.equal(before, after) == (norms == 0)
    soft.train()
    soft(x).sum().backward()
    with torch.no_grad():
        assert torch.equal(soft.eval()(x), after), (
            "a training step may not touch the measured statistics"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_hardened_network_is_one_of_the_members_class_with_their_flags_and_memory_of_its_own(
    kind: type[nn.Module],
) -> None:
    members = random_members(kind, 2)
    for member in members:
        member.requires_grad_(False)
    before = [copy.deepcopy(m.state_dict()) for m in members]
    soft = layer_level(members)
    for spread in (1.0, 100.0):  # also where one member is kept as it is
        set_gates(soft, spread=spread)
        hardened = soft.harden()
        assert type(hardened) is kind
        assert not any(m.training for m in hardened.modules())
        assert all(
            not p.requires_grad and p.is_leaf and p.is_contiguous() for p in hardened.parameters()
        )
        assert hardened.state_dict().keys() == members[0].state_dict().keys()
        taken = {t.data_ptr() for m in members for t in m.state_dict().values()}
        assert not taken & {t.data_ptr() for t in hardened.state_dict().values()}
        for tensor in hardened.state_dict().values():
            tensor.fill_(7)
        assert all(
            torch.equal(v, b[k])
            for m, b in zip(members, before, strict=True)
            for k, v in m.state_dict().items()
        )
        assert not any(p.requires_grad for m in members for p in m.parameters())


@pytest.mark.parametrize("kind", [Residual, WithoutAffine])
def test_recalibrated_norms_hold_plain_sums_and_the_statistics_of_their_own_inputs(
    kind: type[nn.Module],
) -> None:
    members = random_members(kind, 3, torch.float64)
    data = labelled(kind, dtype=torch.float64)
    soft = layer_level(members)
    gates = as_rows(soft, set_gates(soft).double())
    soft.recalibrate(data)
    plain = copy.deepcopy(members[0])
    for name, parameter in plain.named_parameters():
        row = gates[name.rpartition(".")[0]]
        parameter.data.copy_(
            sum(g * m.get_parameter(name) for g, m in zip(row, members, strict=True))
        )
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        for x, _ in data:
            plain(x)
        x = inputs_for(kind, seed=5, dtype=torch.float64)
        assert difference(soft(x), plain.eval()(x)) <= 1e-12
        assert difference(soft.harden()(x), plain(x)) <= 1e-12
