"""Letters of einsum, and operators of shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from proved_specs import proved
from torch import Tensor, nn

from onefold.symmetry.rules.einsum import letters


def test_letters_of_einsum() -> None:
    assert letters("ij,jk", [2, 2]) == (["ij", "jk"], "ik")
    assert letters("b i, b i ->", [2, 2]) == (["bi", "bi"], "")
    operands, result = letters("...ld,...sd->...ls", [4, 4])
    assert [len(own) for own in operands] == [4, 4]
    assert operands[0][:2] == operands[1][:2] == result[:2]
    operands, result = letters("...c,cd", [3, 2])
    assert (len(operands[0]), len(result), result[-1]) == (3, 3, "d")


SHAPED: dict[str, tuple[Callable[[Tensor], Tensor], int, bool]] = {
    "chunked and gated": (lambda x: torch.mul(*x.chunk(2, -1)), 6, True),
    "glu": (F.glu, 6, True),
    "split unevenly": (lambda x: torch.cat([x[..., :4].relu(), x[..., 4:].tanh()], -1), 12, True),
    "an empty slice": (lambda x: torch.cat([x[..., 12:], x], -1), 12, True),
    "unbound": (lambda x: sum(x.view(-1, 3, 4).unbind(1)), 4, True),
    "selected": (lambda x: x.view(-1, 3, 4)[:, 1] + x.view(-1, 3, 4)[:, 2].sigmoid(), 4, True),
    "stacked": (lambda x: torch.stack([x, x.relu()], 1).amax(1), 12, True),
    "repeated": (lambda x: x.repeat(1, 2), 24, True),
    "repeated in place": (lambda x: x.repeat_interleave(2, 1), 24, True),
    "expanded": (lambda x: x.unsqueeze(1).expand(-1, 3, -1).flatten(1), 36, True),
    "shuffled": (lambda x: x.view(-1, 3, 4).transpose(1, 2).reshape(-1, 12), 12, True),
    "pixels shuffled": (lambda x: F.pixel_shuffle(x.view(-1, 12, 1, 1), 2).flatten(1), 12, True),
    "rolled": (lambda x: x.roll(1, -1), 12, False),
    "flipped": (lambda x: x.flip(-1), 12, False),
    "every second": (lambda x: x[:, ::2], 6, False),
    "problem": (lambda x: x[:, [3, 1, 2]], 3, False),
    "cumulated": (lambda x: x.cumsum(-1), 12, False),
    "windows": (lambda x: x.unfold(1, 4, 4).flatten(1), 12, False),
    "patches": (lambda x: F.unfold(x.view(-1, 3, 2, 2), 2).flatten(1), 12, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPED)
def test_operators_of_shape(name: str) -> None:
    function, width, moves = SHAPED[name]

    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 12), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(function(self.a(x)))

    spec = proved(Shaped(), torch.randn(3, 4))
    assert bool(spec.groups) == moves, str(spec)
