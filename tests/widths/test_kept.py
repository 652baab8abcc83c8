"""Which groups dead units leave alone, each said with its reason and shown by numbers."""

from __future__ import annotations

import pytest
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import WidthsError
from onefold.symmetry import find_symmetries
from onefold.widths import widening_changes


class Noticing(nn.Module):
    """Six hidden layers, behind which something counts or compares their features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 6) for _ in range(7))
        self.norm, self.blocks = nn.LayerNorm(6), nn.GroupNorm(2, 6)
        self.outs = nn.ModuleList(nn.Linear(6, 3) for _ in range(7))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d, e, f, g = (torch.relu(layer(x)) for layer in self.layers)
        found = [
            self.norm(a),
            self.blocks(b),
            c.softmax(-1),
            d - d.mean(-1, keepdim=True),
            e - e.amax(-1, keepdim=True),
            f / f.norm(dim=-1, keepdim=True),
            g,
        ]
        return sum(out(y) for out, y in zip(self.outs, found, strict=True))


def test_what_notices_dead_units_is_said() -> None:
    torch.manual_seed(0)
    model, x = Noticing().double(), torch.rand(4, 5, dtype=torch.float64)
    for name, tensor in model.named_parameters():
        if name.startswith("layers"):
            nn.init.uniform_(tensor, 0.1, 1)  # features above zero, so that a mean is not zero
    nn.init.constant_(model.layers[4].bias, -0.1)
    spec = find_symmetries(model, x)
    reasons = widening_changes(model, spec, x)
    assert sorted(reasons.values()) == sorted(
        [
            "a norm runs over it",
            "a group norm runs over it",
            "a softmax runs over it",
            "a mean runs over it",
            "an extremum runs over it",
        ]
    )
    for group in spec.groups:
        if "extremum" in reasons.get(group.name, ""):
            continue  # a zero is no extremum among features above zero
        wide = onefold.resize(model, spec, {group.name: 2 * group.size})
        change = float((wide(x) - model(x)).detach().abs().max())
        assert (change > 1e-6) if group.name in reasons else (change < 1e-10), group.name


def test_attention_is_said() -> None:
    model, tokens = zoo.Grouped(), zoo.tokens()
    spec = find_symmetries(model, tokens)
    model = zoo.EinsumAttention()
    x = torch.randn(2, 5, 6)
    spec = find_symmetries(model, x)
    reasons = widening_changes(model, spec, x)
    compared = next(g.name for g in spec.groups if g.over and g.slots[0].tensor == "q")
    assert "attention" in reasons[compared]
    assert (
        widening_changes(
            nets.mlp(), find_symmetries(nets.mlp(), x[0, :3, :1].expand(3, 10)), torch.randn(3, 10)
        )
        == {}
    )


def test_the_symmetries_of_another_network_are_refused() -> None:
    other = find_symmetries(nn.Sequential(nn.Linear(10, 4), nn.Linear(4, 5)), torch.randn(3, 10))
    with pytest.raises(WidthsError, match="symmetries given are not those of Sequential"):
        widening_changes(nets.mlp(), other, torch.randn(3, 10))
