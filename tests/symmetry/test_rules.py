"""Calls where a careless rule would be unsound, and inputs of every form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from rule_networks import Between, WithWeight
from torch import Tensor, nn

from onefold.errors import SymmetryError
from onefold.symmetry import find_symmetries, verify_symmetries

# Calls that a careless rule would get wrong; (function, shapes of its weights, classes that must
# hold, classes that must not).
TRICKY: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], set[str], set[str]]] = {
    "layer scale": (lambda x, w: x * w, [(6,)], {"permutation", "scale", "sign"}, {"orthogonal"}),
    "gain of one plus w": (lambda x, w: x * (1 + w), [(6,)], {"permutation"}, {"scale", "sign"}),
    "norm with a derived gain": (
        lambda x, w: F.rms_norm(x, (6,), w.exp()),
        [(6,)],
        {"permutation"},
        {"sign"},
    ),
    "norm with a gain times a number": (
        lambda x, w: F.rms_norm(x, (6,), w * 2),
        [(6,)],
        {"permutation", "sign"},
        {"orthogonal", "scale"},
    ),
    "norm with a gain": (
        lambda x, w: F.rms_norm(x, (6,), w),
        [(6,)],
        {"permutation", "sign"},
        {"orthogonal", "scale"},
    ),
    "one weight, added and multiplied": (
        lambda x, w: x * w + w,
        [(6,)],
        {"permutation"},
        {"scale", "sign"},
    ),
    "one matrix, both ways": (
        lambda x, w: F.linear(F.linear(x, w), w.t()),
        [(5, 6)],
        {"permutation", "sign"},
        {"scale"},
    ),
    "features as a weight": (
        lambda x, w: (x @ w.t()).unsqueeze(-1) * x.unsqueeze(1) @ x.t() @ x,
        [(5, 6)],
        {"permutation"},
        {"scale"},
    ),
    "a parameter as input": (
        lambda x, w: F.linear(w, x).t() @ w,
        [(5, 6)],
        {"permutation"},
        {"scale", "invertible"},
    ),
    "prelu": (lambda x, w: F.prelu(x, w), [(6,)], {"permutation", "scale"}, {"sign"}),
    "divided by a weight": (lambda x, w: x / (w.abs() + 1), [(6,)], {"permutation"}, {"scale"}),
    "features weighed by a parameter": (
        lambda x, w: torch.stack([x, w.expand_as(x)]).sum(0),
        [(6,)],
        {"permutation", "scale", "sign"},
        set(),
    ),
    "a table": (
        lambda x, w: x + w[: x.shape[0]],
        [(9, 6)],
        {"permutation", "scale", "sign"},
        set(),
    ),
    "weights joined": (
        lambda x, v, w: x @ torch.cat([v, w]),
        [(2, 6), (4, 6)],
        {"permutation", "sign"},
        set(),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRICKY)
def test_tricky_calls_are_sound(name: str) -> None:
    function, shapes, some, none = TRICKY[name]
    model, x = WithWeight(function, *shapes).eval(), torch.randn(3, 4)
    if name == "features as a weight":
        model.function = lambda x, w: (x @ x.t()) @ (x @ w.t()) @ w
    spec = find_symmetries(model, x)
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
    group = next(
        g
        for g in spec.groups
        if any(slot.tensor == "b.weight" and slot.axis == 1 for slot in g.slots)
    )
    assert some <= group.maps, str(spec)
    assert not none & group.maps, str(spec)


def test_rows_that_another_batch_size_would_read_do_not_move() -> None:
    model, x = WithWeight(TRICKY["a table"][0], (9, 6)), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    assert [group.size for group in spec.groups] == [6]
    assert verify_symmetries(spec, model, torch.randn(8, 4)).passed


def test_a_random_network_cannot_be_proved() -> None:
    model, x = Between(F.dropout), torch.randn(3, 4)
    with pytest.raises(SymmetryError, match="random"):
        verify_symmetries(find_symmetries(model, x), model, x)


def test_inputs_as_tuples_and_dicts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.c(torch.tanh(self.a(x) + self.b(y)))

    x, y = torch.randn(3, 4), torch.randn(3, 3)
    for example in (
        ((x, y), None),
        ((x, y), torch.zeros(3)),
        {"x": x, "y": y, "labels": torch.zeros(3)},
    ):
        spec = find_symmetries(Two(), example)
        assert [group.size for group in spec.groups] == [6]
        assert verify_symmetries(spec, Two(), example).passed
