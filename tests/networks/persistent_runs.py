"""Runs of persistent training in the middle of a round, and their penalty by definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import examples
from torch import Tensor, nn

import onefold
from onefold.explore.persistent.snapshot import unwrapped

STEPS = 8


def move(network: nn.Module, seed: int, size: float = 0.3) -> None:
    """Take a random step in all parameters and buffers, which stands for training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [
            *network.parameters(),
            *(b for b in network.buffers() if b.is_floating_point()),
        ]:
            tensor.add_(
                torch.randn(tensor.shape, generator=generator).to(tensor.dtype).abs_() * size
            )


def run_of(
    network: nn.Module, rounds: int = 2, steps_per_round: int = STEPS, **options: Any
) -> onefold.PersistentTraining:
    """A run that has recorded this many rounds, its network somewhere in the next one."""
    run = onefold.PersistentTraining(network, steps_per_round, **options)
    for number in range(rounds):
        move(network, number)
        run.record(score=number)
        run.restart()
    move(network, 100, 0.2)
    return run


def kernel_by_hand(name: str, w: float, u: Tensor, v: Tensor) -> Tensor:
    """u and v: the ways from the start to the network and to the solution, of one group, flat."""
    scale = (v * v).sum() + 1e-12
    d2 = ((u - v) ** 2).sum() / scale
    if name == "gaussian":
        return torch.exp(-d2 / (2 * w**2))
    if name == "inverse":
        return 1 / (d2 + 0.1 * w**2)
    if name == "hinge":
        return F.relu(w - (d2 + 1e-12).sqrt()) ** 2
    return F.relu((u * v).sum() / scale) ** 2 / ((u * u).sum() / scale + 0.01 * w**2)


def definition(
    run: onefold.PersistentTraining, points: list[dict[str, Tensor]] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Penalty and gradient by autograd through the plain formula in float64, with strength not
    annealed. points: of the control.
    """
    start = {n: t.double() for n, t in run.state_dict()["start"][0].items()}
    now = {
        n: p.detach().double().requires_grad_() for n, p in unwrapped(run.model).named_parameters()
    }
    points = points or [s.snapshot().parameters for s in run.solutions[: run.round]]
    total = torch.zeros((), dtype=torch.float64)
    for point in points:
        for group in run.groups:
            u, v = (
                torch.cat([(each[n].double() - start[n]).flatten() for n in group.parameters])
                for each in (now, point)
            )
            total = total + kernel_by_hand(run.kernel, run.width, u, v)
    total = total * run.strength / len(run.groups)
    names = [n for group in run.groups for n in group.parameters]
    return total.detach(), dict(
        zip(names, torch.autograd.grad(total, [now[n] for n in names]), strict=True)
    )


def found(run: onefold.PersistentTraining) -> dict[str, Tensor]:
    """The gradients that the run has added."""
    return {
        n: p.grad.clone() for n, p in unwrapped(run.model).named_parameters() if p.grad is not None
    }


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference, in units of the largest entry."""
    assert a.keys() == b.keys()
    return max((a[n].double() - b[n].double()).abs().max().item() for n in a) / max(
        t.abs().max().item() for t in b.values()
    )


def check(
    run: onefold.PersistentTraining, expected: tuple[Tensor, dict[str, Tensor]], tolerance: float
) -> None:
    """Penalty and gradient are those expected, by both ways; a tenth of a percent would show."""
    unwrapped(run.model).zero_grad()
    value = run.penalty()
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(expected[0].item(), rel=tolerance)
    assert distance(found(run), expected[1]) < tolerance
    by_node = found(run)
    unwrapped(run.model).zero_grad()
    run.add_gradient()
    assert all(torch.equal(g, by_node[n]) for n, g in found(run).items())
    assert (
        max(g.abs().max().item() for g in expected[1].values()) > 1e-5
    )  # there is something to be wrong about
    run.strength *= 1.001
    unwrapped(run.model).zero_grad()
    run.penalty().backward()  # type: ignore[no-untyped-call]
    assert distance(found(run), expected[1]) > 5e-4  # the comparison tells a tenth of a percent


def train(
    model: nn.Module,
    run: onefold.PersistentTraining,
    steps: int = STEPS,
    optimiser: torch.optim.Optimizer | None = None,
    first: int = 0,
) -> torch.optim.Optimizer:
    """Some steps of a round, in the order of the run."""
    optimiser = optimiser or torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    x, y = examples(64, 0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(run.order_seed))
    model.train()
    for step in range(first, first + steps):
        index = order[8 * (step % 8) :][:8]
        optimiser.zero_grad()
        (F.cross_entropy(model(x[index]), y[index]) + run.penalty()).backward()
        optimiser.step()
        run.step()
    return optimiser
