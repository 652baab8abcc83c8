"""Gradients of real gates over complex tensors."""

from __future__ import annotations

import torch

from onefold.fold.soft.weighted import weighted_sum


def test_gradients_of_gates_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 4, dtype=torch.complex128, generator=generator) for _ in range(3)]
    aim = torch.randn(3, 4, dtype=torch.complex128, generator=generator)
    found = []
    for weigh in (
        weighted_sum,
        lambda gates, all_: sum(g * t for g, t in zip(gates, all_, strict=True)),
    ):
        gates = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
        (weigh(gates, tensors) * aim).abs().square().sum().backward()
        found.append(gates.grad)
    assert found[0] is not None
    torch.testing.assert_close(found[0], found[1])
