"""The penalty and its gradient equal autograd through the plain formula, whatever is repelled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from persistent_runs import check, definition, found, move, run_of
from small_networks import Plain, Residual
from soft_networks import Recurrent, Tied, VisionTransformer, inputs_for, random_network
from torch import nn

import onefold
from onefold.explore.persistent.snapshot import unwrapped

KINDS = (Plain, Residual, VisionTransformer, Recurrent, Tied)
KERNELS = {"gaussian": 0.8, "inverse": 1.3, "hinge": 1.5, "cosine": 1.2}
SCOPES = ("all", "first", "head", "last:2")


@pytest.mark.slow
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_equals_autograd_through_the_definition(
    kind: type[nn.Module], kernel: str, scope: str
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        run = run_of(
            random_network(kind, 0, dtype),
            scope=scope,
            kernel=kernel,
            width=KERNELS[kernel],
            strength=3.0,
        )
        check(run, definition(run), tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_control_repels_from_random_points_at_the_same_displacement(kernel: str) -> None:
    run = run_of(
        random_network(Residual, 0, torch.float64),
        kernel=kernel,
        width=KERNELS[kernel],
        control=True,
        seed=3,
    )
    run.penalty()
    start, points = run.state_dict()["start"][0], []
    names = [n for group in run.groups for n in group.parameters]
    for anchor, solution in zip(run.repulsion.anchors, run.solutions, strict=True):
        points.append({n: start[n] + way for n, way in zip(names, anchor.tensors, strict=True)})
        for group in run.groups:
            ours, theirs = (
                torch.cat([(p[n] - start[n]).flatten() for n in group.parameters])
                for p in (points[-1], solution.snapshot().parameters)
            )
            assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=1e-9)
            assert F.cosine_similarity(ours, theirs, 0).abs() < 0.95
    check(run, definition(run, points), 1e-12)
    others = run_of(random_network(Residual, 0, torch.float64), kernel=kernel, control=True, seed=4)
    others.penalty()
    ways = [
        anchor.tensors[0].flatten() for each in (run, others) for anchor in each.repulsion.anchors
    ]  # type: ignore[union-attr]
    assert all(
        F.cosine_similarity(ways[i], ways[j], 0).abs() < 0.95 for i in range(4) for j in range(i)
    )


@pytest.mark.parametrize("options", [{}, {"precision": "bfloat16"}, {"memory": 1}])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_mirror_image_of_the_last_solution_repels_too(
    kernel: str, options: dict[str, Any]
) -> None:
    run = run_of(
        random_network(Residual, 0, torch.float64),
        kernel=kernel,
        width=KERNELS[kernel],
        strength=3.0,
        mirror=True,
        **options,
    )
    start = run.state_dict()["start"][0]
    points = [solution.snapshot().parameters for solution in run.solutions][
        -run.memory if run.memory else 0 :
    ]
    mirrored = {name: 2 * start[name] - tensor for name, tensor in points[-1].items()}
    check(
        run, definition(run, [*points, mirrored]), 1e-6 if "precision" in options else 1e-12
    )  # lengths of bfloat16 are summed in float32


def test_with_the_mirror_image_nothing_pushes_at_the_start_after_one_round() -> None:
    run = run_of(random_network(Residual, 0, torch.float64), rounds=1, mirror=True)
    run.start.put_into(unwrapped(run.model))
    run.add_gradient()
    assert max(gradient.abs().max() for gradient in found(run).values()) < 1e-15
    assert run.penalty().item() == pytest.approx(2 * math.exp(-0.5), rel=1e-9)
    control = run_of(
        random_network(Residual, 0, torch.float64), rounds=1, mirror=True, control=True
    )
    control.penalty()
    one, other = control.repulsion.anchors  # type: ignore[union-attr]
    assert all(torch.equal(a, -b) for a, b in zip(one.tensors, other.tensors, strict=True))


def test_patterns_and_shared_weights_choose_groups() -> None:
    run = onefold.PersistentTraining(Plain(), 1, scope=["conv*"])
    assert [(g.module, g.parameters) for g in run.groups] == [
        ("conv1", ("conv1.weight", "conv1.bias")),
        ("conv2", ("conv2.weight", "conv2.bias")),
    ]
    assert [
        g.module for g in onefold.PersistentTraining(Plain(), 1, exclude=["conv1", "*.bias"]).groups
    ] == ["conv2", "hidden", "head"]
    assert [g.parameters for g in onefold.PersistentTraining(Tied(), 1, scope="head").groups] == [
        ("embedding.weight",)
    ]
    assert [g.module for g in onefold.PersistentTraining(Tied(), 1, exclude=["head"]).groups] == [
        "hidden"
    ]
    assert [
        g.module for g in onefold.PersistentTraining(VisionTransformer(), 1, scope="first").groups
    ] == ["patch"]
    assert [g.module for g in onefold.PersistentTraining(Residual(), 1, scope="last:2").groups] == [
        "conv2",
        "head",
    ]
    frozen = Plain()
    frozen.head.requires_grad_(False)
    assert [g.module for g in onefold.PersistentTraining(frozen, 1, scope="head").groups] == [
        "hidden"
    ]
    parametrized = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    assert [len(g.parameters) for g in onefold.PersistentTraining(parametrized, 1).groups] == [3]


def test_the_penalty_is_exactly_zero_in_round_0_and_after_annealing() -> None:
    network = random_network(Plain, 0)
    run = onefold.PersistentTraining(network, 8, strength=5.0)
    move(network, 0)
    assert run.penalty().item() == 0
    run.penalty().backward()  # type: ignore[no-untyped-call]
    run.add_gradient()
    assert found(run) == {}
    run.record(1.0)
    run.restart()
    move(network, 1)
    factors = []
    for _ in range(12):
        factors.append(run.factor)
        assert (run.penalty().item() == 0) == (len(factors) > 6)
        run.step()
    assert factors == [5.0] * 5 + [2.5] + [0.0] * 6
    run.penalty().backward()  # type: ignore[no-untyped-call]
    run.add_gradient()
    assert found(run) == {}
    assert onefold.PersistentTraining(network, 2, anneal=(0.0, 0.0)).factor == 0
    always = onefold.PersistentTraining(network, 2, anneal=(1.0, 1.0))
    always.step()
    assert always.factor == 1
    with torch.no_grad():
        assert not run.penalty().requires_grad


def test_at_the_start_every_solution_is_at_distance_one() -> None:
    network = random_network(Plain, 0, torch.float64)
    run = run_of(network)
    run.start.put_into(network)
    assert run.penalty().item() == pytest.approx(2 * torch.tensor(-0.5).exp().item(), rel=1e-7)


@pytest.mark.parametrize("kernel", [*KERNELS, "function"])
def test_a_solution_that_did_not_move_gives_no_nan(kernel: str) -> None:
    network = random_network(Plain, 0)
    reference = inputs_for(Plain, 4) if kernel == "function" else None
    run = onefold.PersistentTraining(
        network, 8, kernel=kernel, reference=reference, width=KERNELS.get(kernel, 1.0)
    )
    run.record(0.0)  # nothing moved at all
    run.restart()
    assert run.penalty().item() == 0
    move(network, 0)
    run.penalty().backward()  # type: ignore[no-untyped-call]
    assert all(g.isfinite().all() and not g.any() for g in found(run).values())
    run.record(0.0)
    run.restart()
    with torch.no_grad():
        network.conv1.weight.add_(0.1)  # type: ignore[union-attr, operator]
    value = run.penalty()
    value.backward()  # type: ignore[no-untyped-call]
    assert value > 0
    assert all(g.isfinite().all() for g in found(run).values())
