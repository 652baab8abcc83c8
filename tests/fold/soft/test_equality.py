"""Gating weights is the weighted sum of layer outputs, computed here by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual
from soft_networks import (
    TEXT,
    Attention,
    Recurrent,
    Tied,
    VisionTransformer,
    WithoutAffine,
    as_rows,
    difference,
    inputs_for,
    layer_level,
    random_members,
    set_gates,
)
from torch import Tensor, nn

from onefold.fold import SoftMerge

LINEAR = [
    Plain,
    Residual,
    VisionTransformer,
    WithoutAffine,
]  # every layer of these is linear in its weights, or a norm
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


class Summed(nn.Module):
    """sum_k g_k f_k(x), of modules."""

    def __init__(self, parts: Sequence[nn.Module], gates: Tensor) -> None:
        super().__init__()
        self.parts, self.gates = nn.ModuleList(parts), gates

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for part, gate in zip(self.parts, self.gates, strict=True):
            total = total + gate * part(x)
        return total


def leaves(network: nn.Module) -> list[str]:
    """The modules that own parameters or statistics and hold no other module."""
    return [
        name
        for name, m in network.named_modules()
        if name and not list(m.children()) and m.state_dict()
    ]


def summed_by_hand(members: Sequence[nn.Module], gates: dict[str, Tensor]) -> nn.Module:
    """The first member's structure in which every layer named in `gates` is the weighted sum of the
    members' layers.
    """
    network = copy.deepcopy(members[0])
    for name, row in gates.items():
        if name in dict(network.named_parameters()):
            total = sum(
                g * m.get_parameter(name).detach() for g, m in zip(row, members, strict=True)
            )
            delattr(network, name)
            setattr(network, name, total)
        else:
            network.set_submodule(
                name, Summed([copy.deepcopy(m.get_submodule(name)) for m in members], row)
            )
    return network


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "plain"])
@pytest.mark.parametrize("kind", LINEAR)
def test_gating_weights_equals_summing_outputs(
    kind: type[nn.Module], normalize: bool, dtype: torch.dtype
) -> None:
    members = random_members(kind, 3, dtype)
    soft = layer_level(members, normalize=normalize)
    gates = set_gates(soft).to(dtype)
    assert bool((gates > 0).all())
    x = inputs_for(kind, 200, dtype=dtype)
    with torch.no_grad():
        found, expected = soft(x), summed_by_hand(members, as_rows(soft, gates))(x)
    assert difference(found, expected) <= TOLERANCE[dtype]
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("kind", LINEAR)
def test_a_changed_gate_of_any_layer_is_seen(kind: type[nn.Module]) -> None:
    """The control: the comparison above must fail for every single gate that is off."""
    members = random_members(kind, 2, torch.float64)
    soft = layer_level(members)
    gates = set_gates(soft).double()
    x = inputs_for(kind, 32, dtype=torch.float64)
    with torch.no_grad():
        found = soft(x)
        for row in range(len(gates)):
            changed = gates.clone()
            changed[row, 1] *= 1.01
            assert difference(found, summed_by_hand(members, as_rows(soft, changed))(x)) > 1e-7, (
                soft.sites[row].name
            )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", LINEAR)
def test_layer_and_module_level_agree_on_the_same_gates(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    members = random_members(kind, 3, dtype)
    names = [
        name
        for name in leaves(members[0])
        if any(True for _ in members[0].get_submodule(name).parameters())
    ]
    layers, modules = (
        layer_level(members, include=names),
        SoftMerge(members, "module", include=names, align="none", reference=0, screen=False),
    )
    modules.eval()
    assert [site.name for site in layers.sites] == [site.name for site in modules.sites]
    set_gates(layers)
    set_gates(modules)
    x = inputs_for(kind, 100, dtype=dtype)
    with torch.no_grad():
        found, expected = layers(x), modules(x)
    assert difference(found, expected) <= TOLERANCE[dtype]
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("kind", [Residual, WithoutAffine])
def test_in_training_gated_norms_use_the_batch_and_equal_the_sum_of_outputs_too(
    kind: type[nn.Module],
) -> None:
    members = random_members(kind, 3, torch.float64)
    soft = layer_level(members).train()
    gates = set_gates(soft).double()
    x = inputs_for(kind, 40, dtype=torch.float64)
    expected = summed_by_hand(members, as_rows(soft, gates)).train()(x)
    assert difference(soft(x), expected) <= 1e-12
    with torch.no_grad():
        assert difference(soft.eval()(x), expected) > 1e-3


@pytest.mark.parametrize("kind", [Residual, WithoutAffine])
def test_eval_mode_runs_with_gradients_enabled(kind: type[nn.Module]) -> None:
    soft = layer_level(random_members(kind))
    soft(inputs_for(kind)).sum().backward()
    assert soft.gate.log_alpha.grad is not None
    assert float(soft.gate.log_alpha.grad.abs().max()) > 0


@pytest.mark.xfail(
    strict=True,
    reason=(
        "the batch's own statistics forget the sum of the gates where a norm has no weight to"
        " carry it"
    ),
)
def test_plain_gates_of_a_norm_without_weight_and_bias_scale_its_output_in_training_too() -> None:
    members = random_members(WithoutAffine, 3, torch.float64)
    soft = layer_level(members, normalize=False).train()
    gates = set_gates(soft).double()
    x = inputs_for(WithoutAffine, 40, dtype=torch.float64)
    assert difference(soft(x), summed_by_hand(members, as_rows(soft, gates)).train()(x)) <= 1e-12


def cell(x: Tensor, members: Sequence[nn.LSTM], gates: Tensor, layer: str) -> Tensor:
    """One layer and direction of an LSTM whose pre-activations are sum_k g_k (W_ih_k x + b_ih_k +
    W_hh_k h + b_hh_k).
    """
    steps = range(x.shape[1])
    width = members[0].hidden_size
    h = c = torch.zeros(len(x), width, dtype=x.dtype)
    outputs: dict[int, Tensor] = {}
    for t in reversed(steps) if layer.endswith("reverse") else steps:
        before = torch.zeros(len(x), 4 * width, dtype=x.dtype)
        for gate, member in zip(gates, members, strict=True):
            inner = F.linear(
                x[:, t], getattr(member, f"weight_ih_{layer}"), getattr(member, f"bias_ih_{layer}")
            )
            outer = F.linear(
                h, getattr(member, f"weight_hh_{layer}"), getattr(member, f"bias_hh_{layer}")
            )
            before = before + gate * (inner + outer)
        i, f, g, o = before.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs[t] = h
    return torch.stack([outputs[t] for t in steps], 1)


def recurrent_by_hand(
    members: Sequence[nn.Module], gates: dict[str, Tensor], words: Tensor
) -> Tensor:
    x = sum(g * m.embedding(words) for g, m in zip(gates["embedding"], members, strict=True))
    lstms = [m.lstm for m in members]
    for layer in range(2):
        x = torch.cat(
            [
                cell(x, lstms, gates[f"lstm.{name}"], name)
                for name in (f"l{layer}", f"l{layer}_reverse")
            ],
            -1,
        )
    return sum(g * m.head(x.mean(1)) for g, m in zip(gates["head"], members, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_gating_an_lstm_equals_summing_its_pre_activations(dtype: torch.dtype) -> None:
    members = random_members(Recurrent, 3, dtype)
    soft = layer_level(members)
    assert [site.name for site in soft.sites] == [
        "embedding",
        "lstm.l0",
        "lstm.l0_reverse",
        "lstm.l1",
        "lstm.l1_reverse",
        "head",
    ]
    gates = set_gates(soft).to(dtype)
    words = inputs_for(Recurrent, 200)
    with torch.no_grad():
        found, expected = soft(words), recurrent_by_hand(members, as_rows(soft, gates), words)
        assert difference(found, expected) <= TOLERANCE[dtype]
        assert torch.equal(found.argmax(-1), expected.argmax(-1))
        for row in range(len(gates)):
            changed = gates.clone()
            changed[row, 1] *= 1.01
            assert (
                difference(found, recurrent_by_hand(members, as_rows(soft, changed), words)) > 1e-6
            ), soft.sites[row].name


def test_gating_attention_equals_summing_its_projections() -> None:
    members = random_members(Attention, 3, torch.float64)
    soft = layer_level(members)
    assert [site.name for site in soft.sites] == [
        "embedding",
        "attention.in_proj",
        "attention.out_proj",
        "head",
    ]
    gates = as_rows(soft, set_gates(soft).double())
    words = inputs_for(Attention)

    def summed(name: str, apply: Callable[[nn.Module], Tensor]) -> Tensor:
        return sum(g * apply(m) for g, m in zip(gates[name], members, strict=True))

    with torch.no_grad():
        x = summed("embedding", lambda m: m.embedding(words))
        n, t, d = x.shape
        projected = summed(
            "attention.in_proj",
            lambda m: F.linear(x, m.attention.in_proj_weight, m.attention.in_proj_bias),
        )
        q, k, v = projected.reshape(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        mixed = (
            ((q @ k.transpose(-1, -2) / (d // 2) ** 0.5).softmax(-1) @ v)
            .transpose(1, 2)
            .reshape(n, t, d)
        )
        x = x + summed("attention.out_proj", lambda m: m.attention.out_proj(mixed))
        expected = summed("head", lambda m: m.head(x.mean(1)))
        assert difference(soft(words), expected) <= 1e-12


def test_tied_weights_have_one_gate_and_stay_tied() -> None:
    members = random_members(Tied, 3, torch.float64)
    soft = layer_level(members)
    assert [site.name for site in soft.sites] == ["embedding", "hidden"]
    gates = as_rows(soft, set_gates(soft).double())
    words = inputs_for(Tied)
    with torch.no_grad():
        table = sum(
            g * m.embedding.weight for g, m in zip(gates["embedding"], members, strict=True)
        )
        x = F.embedding(words, table).mean(1)
        x = F.gelu(sum(g * m.hidden(x) for g, m in zip(gates["hidden"], members, strict=True)))
        assert difference(soft(words), x @ table.T) <= 1e-12
    hardened = soft.harden()
    assert hardened.head.weight is hardened.embedding.weight


def gates_by_equation(log_alpha: Tensor) -> Tensor:
    z = (torch.sigmoid(log_alpha) * 1.2 - 0.1).clamp(0, 1)
    return z / z.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("kind", "training"),
    [
        *(
            (kind, training)
            for kind in (Plain, Residual, VisionTransformer, Recurrent)
            for training in (False, True)
        ),
        (WithoutAffine, True),
    ],
)
def test_gradients_through_gated_weights_equal_those_through_summed_outputs(
    kind: type[nn.Module], training: bool
) -> None:
    members = random_members(kind, 3, torch.float64)
    soft = layer_level(members).double().train(training)
    set_gates(soft)
    x, labels = inputs_for(kind, 32, dtype=torch.float64), torch.arange(32) % 4
    scale = 1e-3  # so that the guard, which would divide gradients above 1, does nothing
    (scale * F.cross_entropy(soft(x), labels)).backward()
    log_alpha = soft.gate.log_alpha.detach().clone().requires_grad_()
    rows = as_rows(soft, gates_by_equation(log_alpha))
    if kind in TEXT:
        logits = recurrent_by_hand(copy.deepcopy(members), rows, x)
    else:
        logits = summed_by_hand(members, rows).train(training)(x)
    (scale * F.cross_entropy(logits, labels)).backward()
    assert log_alpha.grad is not None
    assert soft.gate.log_alpha.grad is not None
    assert float(log_alpha.grad.abs().max()) < 1
    assert (
        float((soft.gate.log_alpha.grad - log_alpha.grad).abs().max() / log_alpha.grad.abs().max())
        < 1e-10
    )
    assert all(p.grad is None for m in members for p in m.parameters())
