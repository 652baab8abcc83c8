"""A classifier is shifted by the bias that its outputs move with, and by no other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onefold.fold.balanced import balanced
from onefold.inference import ANY, Output

torch.manual_seed(0)
DATA = [torch.randn(9, 5)]
SHIFTS = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)


class Net(nn.Module):
    """Three units everywhere, so that several biases have the right size."""

    def __init__(self, bias: bool = True, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 3), nn.Linear(3, 3, bias=bias)
        self.unused = nn.Parameter(torch.zeros(3))
        self.scale = scale

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"hidden": self.first(x), "logits": self.scale * self.last(self.first(x).tanh())}


def test_the_last_bias_moves_by_the_shifts() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    twin = balanced(net, SHIFTS, DATA, ANY)
    assert twin is not None
    torch.testing.assert_close(
        twin(DATA[0])["logits"], net(DATA[0])["logits"] + SHIFTS.float(), atol=1e-6, rtol=0
    )
    changed = {n for n, t in twin.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"last.bias"}
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


@pytest.mark.parametrize("net", [Net(bias=False), Net(scale=2.0)])
def test_without_such_a_bias_there_is_none(net: nn.Module) -> None:
    assert balanced(net, SHIFTS, DATA, ANY) is None


def test_another_output_has_another_bias() -> None:
    twin = balanced(Net(), SHIFTS, DATA, Output("hidden", 1))
    assert twin is not None
    assert set(dict(twin.named_parameters())) >= {"first.bias"}


def test_half_precision_is_shifted_as_far_as_it_goes() -> None:
    twin = balanced(Net().bfloat16(), SHIFTS, [DATA[0].bfloat16()], ANY)
    assert twin is None or twin.last.bias.dtype == torch.bfloat16
