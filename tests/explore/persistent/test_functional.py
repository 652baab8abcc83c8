"""The kernel between predictions equals autograd through them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from persistent_runs import check, move, run_of
from small_networks import Plain, Residual
from soft_networks import Recurrent, bits, inputs_for, random_network, same_bits
from torch import Tensor, nn

from onefold.explore.persistent.functional import reference_inputs
from onefold.explore.persistent.snapshot import unwrapped


def test_the_function_kernel_repels_from_mirrored_predictions() -> None:
    x = inputs_for(Plain, 12, 5, torch.float64)
    network = random_network(Plain, 0, torch.float64)
    run = run_of(network, rounds=1, kernel="function", reference=x, mirror=True)
    run.start.put_into(network)
    start = network(x).softmax(-1).detach()
    solution = run.network(0)(x).softmax(-1).detach()
    move(network, 7, 0.2)
    now = network(x).softmax(-1).detach()
    scale = (solution - start).square().sum()
    expected = sum(
        math.exp(-0.5 * float((now - place).square().sum() / scale))
        for place in (solution, 2 * start - solution)
    )
    assert run.penalty().item() == pytest.approx(expected, rel=1e-9)


def test_the_function_kernel_equals_autograd_through_the_predictions() -> None:
    for kind in (Plain, Residual, Recurrent):
        x = inputs_for(kind, 12, 5, torch.float64)
        network = random_network(kind, 0, torch.float64)
        run = run_of(network, kernel="function", reference=x, width=0.7, strength=2.0)

        def outputs(state: dict[str, Tensor], model: nn.Module = network, x: Tensor = x) -> Tensor:
            other = copy.deepcopy(model).train()  # batch norms by their batch; there is no dropout
            return torch.func.functional_call(other, state, (x,)).softmax(-1)

        now = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
        start = outputs(run.state_dict()["start"][0])
        total = torch.zeros((), dtype=torch.float64)
        for solution in run.solutions:
            there = outputs(solution.snapshot().parameters)
            apart = ((outputs(now) - there) ** 2).sum(-1).mean() / (
                ((start - there) ** 2).sum(-1).mean() + 1e-12
            )
            total = total + 2.0 * torch.exp(-apart / (2 * 0.7**2))
        gradients = dict(zip(now, torch.autograd.grad(total, list(now.values())), strict=True))
        head = run_of(
            random_network(kind, 0, torch.float64),
            kernel="function",
            reference=x,
            width=0.7,
            strength=2.0,
            scope="head",
        )
        check(
            head,
            (total.detach(), {n: g for n, g in gradients.items() if n.startswith("head")}),
            1e-11,
        )
        before, modes = bits(network), [m.training for m in network.modules()]
        check(run, (total.detach(), gradients), 1e-11)
        assert same_bits(bits(network), before)
        assert [m.training for m in network.modules()] == modes


def test_the_function_kernel_is_blind_to_permutations_and_its_control_is_another_point() -> None:
    network, x = random_network(Plain, 0, torch.float64), inputs_for(Plain, 12, 5, torch.float64)
    run = run_of(network, 1, kernel="function", reference=x)
    value, weights = run.penalty().item(), run_of(copy.deepcopy(network), 1)
    before = weights.penalty().item()
    for each in (network, unwrapped(weights.model)):
        with torch.no_grad():
            for name in ("hidden.weight", "hidden.bias"):
                each.get_parameter(name).copy_(each.get_parameter(name).flip(0))
            each.head.weight.copy_(each.head.weight.flip(1))  # type: ignore[union-attr]
    assert run.penalty().item() == pytest.approx(value, rel=1e-9)
    assert weights.penalty().item() != pytest.approx(before, rel=1e-3)
    assert run_of(
        random_network(Plain, 0, torch.float64), 1, kernel="function", reference=x, control=True
    ).penalty().item() != pytest.approx(value)


@pytest.mark.parametrize(("count", "taken"), [(1, 1), (3, 3), (4, 4), (9, 4)])
def test_reference_inputs_are_those_of_the_first_batch(count: int, taken: int) -> None:
    inputs = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    found = reference_inputs([(inputs, torch.arange(4)), "never read"], count, torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, inputs[:taken].float())


def test_reference_inputs_of_several_arguments_keep_what_is_no_example() -> None:
    tokens, mask, table = torch.arange(8).reshape(4, 2), torch.ones(4, 2), torch.zeros(7, 2)
    named = {"tokens": tokens, "mask": mask, "table": table, "labels": torch.arange(4)}
    found = reference_inputs([named], 3, torch.float64)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "tokens": (3, 2),
        "mask": (3, 2),
        "table": (7, 2),
    }
    assert found["tokens"].dtype == torch.int64
    assert found["mask"].dtype == torch.float64
