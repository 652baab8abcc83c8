"""Inner products and what is mixed along an index."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from proved_specs import groups_of, proved
from torch import Tensor, nn

EVERY = {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"}
ROTATIONS = {"permutation", "sign", "orthogonal", "orthogonal_mean"}


def test_an_inner_product_of_two_towers_lets_their_common_space_rotate() -> None:
    spec = proved(zoo.Contrastive(), ((torch.randn(2, 1, 8, 8), zoo.tokens()), None))
    (common,) = groups_of(spec, "text.weight", 0)
    assert {slot.tensor for slot in common.slots} == {"text.weight", "image.3.weight"}
    assert {"permutation", "sign", "orthogonal"} <= common.maps


class Products(nn.Module):
    """Inner products of features whose parities do or do not work out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a, self.b, self.c, self.kind = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), kind

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.a(x), self.b(x), self.c(x)
        if self.kind == "two":
            return a @ b.t()
        if self.kind == "with a number":
            return (3 * a) @ torch.cat([b, b]).t()
        if self.kind == "triangle":  # a against b, b against c, c against a: no parities
            return a @ b.t() + b @ c.t() + c @ a.t()
        if self.kind == "itself":
            return a @ a.t()
        if self.kind == "sum":
            return (a + b) @ c.t()
        return (a @ b.t()) + (a + b) @ c.t()  # a and b on one side, and on both


@pytest.mark.parametrize("kind", ["two", "with a number", "triangle", "itself", "sum", "both"])
def test_parities_of_inner_products(kind: str) -> None:
    spec = proved(Products(kind), torch.randn(3, 4))
    maps = groups_of(spec, "a.weight", 0)[0].maps
    assert maps == (ROTATIONS if kind in ("triangle", "itself", "both") else EVERY)


def test_what_is_mixed_along_an_index_moves_alike_at_all_of_its_values() -> None:
    """Operators that keep the axis which they mix along: the parts stacked on it, or the heads on
    it, may not move on their own.
    """

    class Mixed(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.a, self.b, self.head, self.function = (
                nn.Linear(4, 6),
                nn.Linear(4, 6),
                nn.Linear(12, 2),
                function,
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.function(torch.stack([self.a(x), self.b(x)], 1)).flatten(1))

    mixing = [
        lambda x: x.softmax(1),
        lambda x: F.layer_norm(x.transpose(1, 2), (2,)).transpose(1, 2),
        lambda x: x.cumsum(1),
        lambda x: x.flip(1),
    ]
    mixing += [
        lambda x: F.group_norm(x.transpose(1, 2).flatten(1), 6).unflatten(1, (6, 2)).transpose(1, 2)
    ]
    for function in mixing:
        groups = [
            group for group in proved(Mixed(function), torch.randn(3, 4)).groups if group.size > 2
        ]
        assert len(groups) <= 1
    assert (
        len(
            [
                group
                for group in proved(Mixed(torch.relu), torch.randn(3, 4)).groups
                if group.size == 6
            ]
        )
        == 2
    )
