"""The state of a subspace: saved, loaded, copied and pickled, it goes on to the same bits."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual
from soft_networks import bits, same_bits
from subspace_steps import DATA, sgd, steps
from torch import Tensor, nn

import onefold


@pytest.mark.parametrize("draws", ["shared", "per rank"])
def test_a_state_dict_makes_a_run_go_on_to_the_same_bits(draws: str) -> None:
    def new() -> tuple[onefold.Subspace, torch.optim.SGD]:
        torch.manual_seed(0)
        space = onefold.Subspace(Residual(), "simplex", layerwise=True, draws=draws).train()
        return space, sgd(space)

    whole, optimiser = new()
    steps(whole, optimiser, 6)
    half, optimiser = new()
    steps(half, optimiser, 3)
    file = io.BytesIO()
    torch.save({"space": half.state_dict(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    rest, optimiser = new()
    rest.load_state_dict(state["space"])
    optimiser.load_state_dict(state["optimiser"])
    steps(rest, optimiser, 3, skip=3)
    assert all(torch.equal(v, rest.state_dict()[k]) for k, v in whole.state_dict().items())
    without, optimiser = new()
    without.load_state_dict(
        {k: v for k, v in state["space"].items() if "extra" not in k}, strict=False
    )
    assert without.drawn != rest.drawn  # what the extra state is for


def test_a_state_dict_can_be_written_without_pickles(tmp_path: object) -> None:
    space = onefold.Subspace(Plain(), "line").train()
    steps(space, sgd(space), 2)
    path = f"{tmp_path}/space.safetensors"
    onefold.save(space.state_dict(), path)
    other = onefold.Subspace(Plain(), "line", seed=9)
    other.load_state_dict(onefold.load(path))
    assert (other.seed, other.drawn) == (space.seed, space.drawn)
    assert torch.equal(other.midpoint()(DATA[0][0]), space.midpoint()(DATA[0][0]))


def test_loaded_and_converted_weights_reach_the_network() -> None:
    space, other = (
        onefold.Subspace(Plain(), "line", seed=1),
        onefold.Subspace(Plain(), "line", seed=2),
    )
    x = DATA[0][0]
    space.train()(x)
    space.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(space.eval()(x), other.eval()(x))
    assert space.double()(x.double()).dtype == torch.float64
    assert torch.allclose(space(x.double()).float(), other(x), atol=1e-5)


def test_copies_and_averages_of_the_whole_subspace() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    averaged = torch.optim.swa_utils.AveragedModel(space)
    optimiser = sgd(space)
    x, y = DATA[0]
    F.cross_entropy(space(x), y).backward()
    copied = copy.deepcopy(space)  # in the middle of a step
    optimiser.step()
    averaged.update_parameters(space)
    assert not same_bits(dict(copied.named_parameters()), dict(space.named_parameters()))
    assert same_bits(dict(averaged.module.named_parameters()), dict(space.named_parameters()))
    assert copied.train()(x).requires_grad


class Introspective(nn.Module):
    """Asks its own parameters where it is, as many networks do; its last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(64, 8), nn.Linear(8, 4)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        first = next(self.parameters())
        return self.last(torch.tanh(self.linear(x.flatten(1).to(first.device, first.dtype))))


def test_networks_that_ask_for_their_parameters_are_answered() -> None:
    model = Introspective()
    space = onefold.Subspace(
        model, "line", init=lambda fresh: fresh.load_state_dict(Introspective().state_dict())
    ).train()
    F.cross_entropy(space(DATA[0][0]), DATA[0][1]).backward()
    assert len(list(space.parameters())) == 8
    assert space.double().eval()(DATA[0][0]).dtype == torch.float64
    point = space.midpoint()
    assert "parameters" not in vars(point)
    assert [name for name, _ in point.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]


def test_a_subspace_goes_through_a_pickle() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    steps(space, sgd(space), 2)
    file = io.BytesIO()
    torch.save(space, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert same_bits(bits(read), bits(space))
    steps(space, sgd(space), 2)
    steps(read, sgd(read), 2)
    assert same_bits(bits(read), bits(space))
