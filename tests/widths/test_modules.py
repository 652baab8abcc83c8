"""Sizes that modules keep: recurrent nets, attention, grouped layers, and code of one's own."""

from __future__ import annotations

from typing import Any

import pytest
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from onefold.errors import WidthsError
from onefold.symmetry import find_symmetries
from onefold.symmetry.axes import Fixed, Live, Prod, Sum
from onefold.widths import tied_groups
from onefold.widths.sizes import leading, new_size


def group_of(spec: onefold.SymmetrySpec, tensor: str, axis: int) -> str:
    """The group on an axis, the first one if there are several."""
    return next(
        g.name for g in spec.groups for s in g.slots if (s.tensor, s.axis) == (tensor, axis)
    )


def test_the_outer_part_of_an_axis() -> None:
    heads, features = Live("h", 4), Live("d", 6)
    term = Prod((heads, features))
    assert leading(term, 4, {"h": 3, "d": 5}) == 3
    assert leading(term, 24, {"h": 3, "d": 5}) == 15
    assert leading(term, 8, {"h": 3}) is None
    both = Sum((Prod((Live("a", 4), Fixed("f", 2))), Prod((Live("b", 6), Fixed("f", 2)))))
    assert leading(both, 10, {"a": 3}) == 9  # a depthwise convolution that doubles its channels
    assert new_size(both, {"a": 3, "b": 1}) == 8


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_of_a_recurrent_net_have_one_size(kind: str) -> None:
    bidirectional = kind == "RNN"
    model = zoo.Recurrent(kind, num_layers=2, bidirectional=bidirectional)
    spec = find_symmetries(model, zoo.tokens())
    (tied,) = tied_groups(model, spec)
    assert len(tied) == (4 if bidirectional else 2)
    first, second, *_ = sorted(tied)
    small = onefold.resize(model, spec, {first: 5})
    assert small.net.hidden_size == 5
    assert small.head.in_features == (10 if bidirectional else 5)
    assert small(zoo.tokens()).shape == (2, 3)
    with pytest.raises(WidthsError, match="one size for the states of all its layers"):
        onefold.resize(model, spec, {first: 5, second: 6})
    assert onefold.resize(model, spec, dict.fromkeys(tied, 20)).net.hidden_size == 20


def test_projections_and_cells() -> None:
    model = zoo.Recurrent("LSTM", proj_size=5, num_layers=2)
    spec = find_symmetries(model, zoo.tokens())
    projected = group_of(spec, "net.weight_hr_l0", 0)
    hidden = group_of(spec, "net.weight_hr_l0", 1)
    table = group_of(spec, "table.weight", 1)
    small = onefold.resize(model, spec, {projected: 3, hidden: 7, table: 4})
    assert small(zoo.tokens()).shape == (2, 3)
    assert (small.net.input_size, small.net.hidden_size, small.net.proj_size) == (4, 7, 3)

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(x.shape[0], self.cell.hidden_size)
            return self.head(self.cell(x[:, 1], self.cell(x[:, 0], state)))

    cell, x = Cell(), torch.randn(3, 2, 4)
    narrow = onefold.resize(cell, find_symmetries(cell, x), {"g0": 3}, example_inputs=x)
    assert narrow.cell.hidden_size == 3


def test_attention_takes_what_its_heads_have_together() -> None:
    model, x = zoo.Encoder(), torch.randn(2, 4, 5)
    spec = find_symmetries(model, x)
    stream = group_of(spec, "into.weight", 0)
    heads = group_of(spec, "body.layers.0.self_attn.out_proj.weight", 1)
    top = group_of(spec, "top.out_proj.weight", 1)
    small = onefold.resize(model, spec, {stream: 6, heads: 2, top: 2}, example_inputs=x)
    first = small.body.layers[0].self_attn
    assert (first.embed_dim, first.num_heads, first.head_dim) == (6, 2, 3)
    assert (small.top.embed_dim, small.top.num_heads, small.top.head_dim) == (6, 2, 3)
    with pytest.raises(WidthsError, match="6 features with 4 heads, which do not divide"):
        onefold.resize(model, spec, {stream: 6})
    with pytest.raises(WidthsError, match="12 features with 5 heads, which do not divide"):
        onefold.resize(model, spec, {group_of(spec, "top.in_proj_weight", 0): 5})


class Blocks(nn.Module):
    """A grouped convolution and a group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 1)
        self.norm = nn.GroupNorm(3, 12)
        self.grouped = nn.Conv2d(12, 24, 3, groups=3)
        self.up = nn.ConvTranspose2d(24, 12, 2, groups=6)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        return self.head(F.relu(self.up(F.relu(self.grouped(x)))))


def test_groups_of_convolutions_and_norms() -> None:
    model, x = Blocks(), torch.randn(2, 3, 5, 5)
    spec = find_symmetries(model, x)
    half = {group.name: max(1, group.size // 2) for group in spec.groups}
    small = onefold.resize(model, spec, half, example_inputs=x)
    for module in (small.grouped, small.up):
        assert module.in_channels % module.groups == module.out_channels % module.groups == 0
    assert small.norm.num_channels == len(small.norm.weight) == small.stem.out_channels
    assert small.grouped.in_channels == small.stem.out_channels


class Own(nn.Module):
    """Attention with sizes of its own, and numbers that only happen to be as large."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.depth, self.window = 4, 4, 4, [16, 4]
        self.width, self.scale = 16, 4**-0.5
        self.fused, self.out = nn.Linear(6, 48), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.fused(x).split(self.width, -1)
        q, k, v = (
            y.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2) for y in (q, k, v)
        )
        y = (q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v
        for _ in range(self.depth - 3):
            y = y + 1
        return self.out(y.transpose(1, 2).flatten(2)) * self.window[1]


@pytest.mark.parametrize(
    ("which", "width", "found"),
    [
        ("heads", 3, (3, 4, 12, 4**-0.5)),
        ("features", 3, (4, 3, 12, 3**-0.5)),
        ("heads", 6, (6, 4, 24, 4**-0.5)),
    ],
)
def test_attributes_follow_what_they_counted(
    which: str, width: int, found: tuple[Any, ...]
) -> None:
    model, x = Own(), torch.randn(2, 5, 6)
    spec = find_symmetries(model, x)
    heads = next(group.over[0] for group in spec.groups if group.over)
    features = next(group.name for group in spec.groups if group.over)
    name = heads if which == "heads" else features
    other = onefold.resize(model, spec, {name: width}, example_inputs=x)
    assert (other.num_heads, other.head_dim, other.width, other.scale) == found
    assert (other.depth, other.window) == (4, [16, 4])
    assert (model.num_heads, model.head_dim, model.width) == (4, 4, 16)


def test_heads_stay_whole_when_widths_are_rounded() -> None:
    model, x = Own(), torch.randn(2, 5, 6)
    spec = find_symmetries(model, x)
    heads = next(group.over[0] for group in spec.groups if group.over)
    small = onefold.resize(model, spec, {heads: 1}, example_inputs=x, round_to=8)
    assert small.num_heads == 2  # of 4 features each
