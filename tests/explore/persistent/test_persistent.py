"""Persistent training: the penalty equals its definition, rounds begin and continue bit for bit,
and mistakes are answered in one sentence.
"""

from __future__ import annotations

import copy
import math
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, examples
from soft_networks import (
    Recurrent,
    Tied,
    VisionTransformer,
    bits,
    inputs_for,
    random_network,
    same_bits,
)
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, OnefoldError, OutputError, PersistentError, SettingError

KINDS = (Plain, Residual, VisionTransformer, Recurrent, Tied)
KERNELS = {"gaussian": 0.8, "inverse": 1.3, "hinge": 1.5, "cosine": 1.2}
SCOPES = ("all", "first", "head", "last:2")
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
    """u and v: the ways gone from the start by the network and by the solution, of one group, flat."""
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
    now = {n: p.detach().double().requires_grad_() for n, p in run._network.named_parameters()}
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
    return {n: p.grad.clone() for n, p in run._network.named_parameters() if p.grad is not None}


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference, in units of the largest entry."""
    assert a.keys() == b.keys()
    return max((a[n].double() - b[n].double()).abs().max().item() for n in a) / max(
        t.abs().max().item() for t in b.values()
    )


def check(
    run: onefold.PersistentTraining, expected: tuple[Tensor, dict[str, Tensor]], tolerance: float
) -> None:
    run._network.zero_grad()
    value = run.penalty()
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(expected[0].item(), rel=tolerance)
    assert distance(found(run), expected[1]) < tolerance
    by_node = found(run)
    run._network.zero_grad()
    run.add_gradient()
    assert all(torch.equal(g, by_node[n]) for n, g in found(run).items())
    assert (
        max(g.abs().max().item() for g in expected[1].values()) > 1e-5
    )  # there is something to be wrong about
    run.strength *= 1.001
    run._network.zero_grad()
    run.penalty().backward()  # type: ignore[no-untyped-call]
    assert distance(found(run), expected[1]) > 5e-4  # the comparison tells a tenth of a percent


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
    for anchor, solution in zip(run._repulsion.anchors, run.solutions, strict=True):  # type: ignore[union-attr]
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
        anchor.tensors[0].flatten() for each in (run, others) for anchor in each._repulsion.anchors
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
    run._start.put_into(run._network)
    run.add_gradient()
    assert max(gradient.abs().max() for gradient in found(run).values()) < 1e-15
    assert run.penalty().item() == pytest.approx(2 * math.exp(-0.5), rel=1e-9)
    control = run_of(
        random_network(Residual, 0, torch.float64), rounds=1, mirror=True, control=True
    )
    control.penalty()
    one, other = control._repulsion.anchors  # type: ignore[union-attr]
    assert all(torch.equal(a, -b) for a, b in zip(one.tensors, other.tensors, strict=True))


def test_the_function_kernel_repels_from_mirrored_predictions() -> None:
    x = inputs_for(Plain, 12, 5, torch.float64)
    network = random_network(Plain, 0, torch.float64)
    run = run_of(network, rounds=1, kernel="function", reference=x, mirror=True)
    run._start.put_into(network)
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
    for each in (network, weights._network):
        with torch.no_grad():
            for name in ("hidden.weight", "hidden.bias"):
                each.get_parameter(name).copy_(each.get_parameter(name).flip(0))
            each.head.weight.copy_(each.head.weight.flip(1))  # type: ignore[union-attr]
    assert run.penalty().item() == pytest.approx(value, rel=1e-9)
    assert weights.penalty().item() != pytest.approx(before, rel=1e-3)
    assert run_of(
        random_network(Plain, 0, torch.float64), 1, kernel="function", reference=x, control=True
    ).penalty().item() != pytest.approx(value)


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
    run._start.put_into(network)
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


def test_memory_keeps_the_last_solutions_near_and_all_recorded() -> None:
    run = run_of(random_network(Plain, 0, torch.float64), 3, memory=1)
    expected = definition(run, [run.solutions[2].snapshot().parameters])
    check(run, expected, 1e-12)
    assert run.scores == [0, 1, 2]
    before = run_of(random_network(Plain, 0, torch.float64), 2)
    value, before._repulsion = before.penalty().item(), None
    before.record(2.0)  # it repels from the next round on
    assert before.penalty().item() == value
    before._repulsion.device = torch.device("meta")  # as if the network had been moved since
    before.penalty()
    assert before._repulsion.device.type == "cpu"
    assert len(run.ensemble().members) == 3


def test_restart_brings_back_the_initialisation_bit_for_bit() -> None:
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        network.head.bias[0] = -0.0
    identities, before = [id(p) for p in network.parameters()], bits(network)
    run = onefold.PersistentTraining(network, STEPS)
    train(network, run)
    assert not torch.equal(network.norm0.running_mean, before["norm0.running_mean"])
    run.record(1.0)
    run.restart()
    assert all(
        torch.equal(t.view(torch.uint8), before[n].view(torch.uint8))
        for n, t in bits(network).items()
        if t.dim()
    )
    assert same_bits(bits(network), before)
    assert network.norm0.num_batches_tracked == 0
    assert all(p.grad is None for p in network.parameters())
    assert [id(p) for p in network.parameters()] == identities
    assert run._network is network is run.model
    assert (run.round, run.steps) == (1, 0)


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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"control": True},
        {"mirror": True},
        {"store": True},
        {"precision": "bfloat16"},
        {"kernel": "function"},
        {"kernel": "cosine"},
    ],
)
def test_a_resumed_run_goes_on_to_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    options = {**options, "store": tmp_path / "rounds"} if "store" in options else options
    if options.get("kernel") == "function":
        options = {**options, "reference": examples(8, 3)}
    torch.manual_seed(0)
    network = Residual()
    run = onefold.PersistentTraining(network, STEPS, seed=4, **options)
    train(network, run)
    run.record(0.5)
    run.restart("new")
    optimiser = train(network, run, 3)
    torch.save(
        {
            "run": run.state_dict(),
            "model": network.state_dict(),
            "optimiser": optimiser.state_dict(),
        },
        tmp_path / "state.pt",
    )

    def finish(
        network: nn.Module, run: onefold.PersistentTraining, optimiser: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        train(network, run, STEPS - 3, optimiser, 3)
        run.record(0.7)
        run.restart()
        train(network, run)
        run.record(0.6)
        return bits(network)

    expected = finish(network, run, optimiser)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.manual_seed(9)
    other = Residual()
    again = onefold.PersistentTraining(other, STEPS, seed=1, **options)
    again.load_state_dict(state["run"])
    other.load_state_dict(state["model"])
    optimiser = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9)
    optimiser.load_state_dict(state["optimiser"])
    assert same_bits(finish(other, again, optimiser), expected)
    assert again.scores == run.scores == [0.5, 0.7, 0.6]
    assert same_bits(bits(again.best()), bits(run.best()))
    assert again.seed == 4


def test_the_order_of_the_data_is_the_first_or_a_new_one() -> None:
    run = run_of(random_network(Plain, 0), 0)
    seeds = [run.order_seed]
    for order in ("same", "new", "new", "same"):
        run.record(0.0)
        run.restart(order)
        seeds.append(run.order_seed)
    assert seeds[0] == seeds[1] == seeds[4]
    assert len(set(seeds)) == 3
    for _ in range(2):
        run.restart("new", abandon=True)
        assert run.order_seed not in seeds
        seeds.append(run.order_seed)
    torch.Generator().manual_seed(seeds[2])


def test_best_and_ensemble_are_plain_copies() -> None:
    network = random_network(Residual, 0)
    run = onefold.PersistentTraining(network, STEPS)
    ends = []
    for number, score in enumerate([0.3, torch.tensor(0.8), 0.8]):
        move(network, number)
        ends.append(bits(network))
        run.record(score)
        run.restart()
    best = run.best()
    assert type(best) is Residual
    assert best is not network
    assert not best.training
    assert same_bits(bits(best), ends[1])
    assert all(p.grad is None and p.requires_grad for p in best.parameters())
    x = inputs_for(Residual)
    network(x).sum().backward()
    assert all(p.grad is None for p in run.best().parameters())
    together, single = run.ensemble(), [run.network(k)(x) for k in range(3)]
    assert torch.allclose(
        together(x).exp(), torch.stack([s.softmax(-1) for s in single]).mean(0), atol=1e-6
    )
    assert torch.allclose(run.ensemble("logits")(x), torch.stack(single).mean(0), atol=1e-6)
    move(best, 7)
    assert same_bits(bits(run.best()), ends[1])


def test_networks_that_keep_tensors_of_a_graph_can_be_copied_and_others_are_named() -> None:
    layer = nn.utils.weight_norm(nn.Linear(3, 4))
    layer(torch.ones(2, 3)).sum().backward()
    run = run_of(layer, 1)
    layer(torch.ones(2, 3)).sum().backward()
    best = run.best()
    run._start.put_into(layer)
    move(layer, 0)
    assert torch.equal(best(torch.ones(2, 3)), layer(torch.ones(2, 3)))
    layer.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(PersistentError, match="Linear cannot be copied"):
        run.best()


def test_what_is_given_out_can_be_changed_without_harm() -> None:
    run = run_of(random_network(Plain, 0))
    before = run.penalty().item()
    for solution in run.solutions:
        for tensor in solution.snapshot().parameters.values():
            tensor.zero_()
    for parameter in [*run.best().parameters(), *run.ensemble().parameters()]:
        parameter.data.zero_()
    run._find_owners()
    assert run.penalty().item() == before


def test_solutions_on_disk_are_checkpoints_and_those_in_lower_precision_are_near(
    tmp_path: Path,
) -> None:
    exact, disk, low = (
        run_of(random_network(Tied, 0), **o)
        for o in ({}, {"store": tmp_path / "a"}, {"precision": "bfloat16"})
    )
    both = run_of(random_network(Tied, 0), store=tmp_path / "b", precision="float16")
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [
        "round-00.safetensors",
        "round-01.safetensors",
    ]
    plain = Tied()
    plain.load_state_dict(onefold.load(tmp_path / "a" / "round-01.safetensors"))
    assert same_bits(bits(plain), bits(exact.network(1)))
    assert same_bits(bits(disk.network(1)), bits(exact.network(1)))
    for run, error in ((disk, 0.0), (low, 5e-3), (both, 1e-3)):
        assert run.penalty().item() == pytest.approx(
            exact.penalty().item(), rel=1e-2 if error else 1e-12
        )
        found, start = bits(run.network(0)), run.state_dict()["start"][0]
        for name, wanted in exact.solutions[0].snapshot().parameters.items():
            assert (
                (found[name] - wanted).abs()
                <= error * (wanted - start[name]).abs() + 1e-7 * (error > 0)
            ).all()
    assert all(t.dtype == torch.bfloat16 for t in low.solutions[0].stored().values())
    check(low, definition(low), 1e-5)


def test_files_that_are_gone_changed_or_of_another_run_are_refused(tmp_path: Path) -> None:
    run = run_of(random_network(Plain, 0), store=tmp_path / "a")
    state = run.state_dict()
    other = onefold.PersistentTraining(random_network(Plain, 0), STEPS, store=tmp_path / "a")
    for act in (other.step, lambda: other.record(1.0)):
        with pytest.raises(
            PersistentError, match="is a solution of another run; choose an empty folder"
        ):
            act()
    with pytest.raises(PersistentError, match="pass store="):
        onefold.PersistentTraining(random_network(Plain, 0), STEPS).load_state_dict(state)
    file = tmp_path / "a" / "round-00.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PersistentError, match="checksum differs"):
        other.load_state_dict(state)
    file.unlink()
    with pytest.raises(PersistentError, match="is missing"):
        run.network(0)
    with pytest.raises(OutputError, match="cannot be written"):
        onefold.PersistentTraining(Plain(), 1, store=tmp_path / "no" / "such")


def test_a_grad_scaler_scales_the_penalty_along() -> None:
    network = random_network(Plain, 0).train()
    run, (x, y) = run_of(network), examples(32, 0)
    expected = definition(run)[1]
    scaler, optimiser = (
        torch.amp.GradScaler("cpu", init_scale=1024.0),
        torch.optim.SGD(network.parameters(), 0.1),
    )
    with torch.autocast("cpu", torch.bfloat16):
        plain = F.cross_entropy(network(x), y)
        penalty = run.penalty()
    assert penalty.dtype == torch.float32
    without = torch.autograd.grad(plain, list(network.parameters()), retain_graph=True)
    scaler.scale(plain + penalty).backward()
    scaler.unscale_(optimiser)
    named = dict(zip(dict(network.named_parameters()), without, strict=True))
    assert distance({n: g - named[n] for n, g in found(run).items()}, expected) < 1e-2
    before = found(run)
    network.zero_grad()
    scaler.scale(F.cross_entropy(network(x), y)).backward()
    run.add_gradient(scale=1024.0)
    full = {n: g / 1024 for n, g in found(run).items()}
    assert distance(full, before) < 2e-2


def test_accumulation_clipping_and_freezing() -> None:
    network = random_network(Plain, 0, torch.float64)
    run = run_of(network)
    expected = definition(run)[1]
    run.add_gradient(0.25)
    run.add_gradient(0.75)
    assert distance(found(run), expected) < 1e-12
    network.zero_grad()
    for _ in range(4):
        (run.penalty() / 4).backward()
    assert distance(found(run), expected) < 1e-12
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    assert torch.nn.utils.clip_grad_norm_(network.parameters(), 0.01).item() == pytest.approx(
        norm.item(), rel=1e-9
    )
    network.zero_grad()
    network.conv1.requires_grad_(False)  # type: ignore[union-attr]
    run.penalty().backward()  # type: ignore[no-untyped-call]
    run.add_gradient()
    assert "conv1.weight" not in found(run)
    assert (
        distance(found(run), {n: 2 * g for n, g in expected.items() if not n.startswith("conv1")})
        < 1e-12
    )


def test_sparse_gradients_and_other_memory_orders() -> None:
    network = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2))
    run = run_of(network)
    expected = definition(run)[1]
    network(torch.tensor([1, 2])).sum().backward()
    loss = {n: p.grad.to_dense().clone() for n, p in network.named_parameters()}  # type: ignore[union-attr]
    run.add_gradient()
    assert distance({n: g.to_dense() - loss[n] for n, g in found(run).items()}, expected) < 1e-6
    channels = random_network(Plain, 0, torch.float64).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = run_of(channels, kernel="cosine")
    check(run, definition(run), 1e-12)
    assert channels.conv2.weight.grad.is_contiguous(memory_format=torch.channels_last)


def test_networks_in_half_precision_sum_in_single() -> None:
    run = run_of(random_network(Plain, 0, torch.bfloat16))
    value, gradients = definition(run)
    assert run.penalty().item() == pytest.approx(value.item(), rel=2e-2)
    run.penalty().backward()  # type: ignore[no-untyped-call]
    assert distance(found(run), gradients) < 2e-2


def test_the_way_of_other_devices_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefold.explore.persistent import distances

    monkeypatch.setattr(distances, "on_cpu", lambda tensor: False)
    half = torch.randn(1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert distances.squares([half]).item() == pytest.approx(
        half.double().square().sum().item(), rel=1e-5
    )
    for kernel, width in KERNELS.items():
        run = run_of(random_network(Residual, 0, torch.float64), kernel=kernel, width=width)
        check(run, definition(run), 1e-12)


def test_a_compiled_network_is_trained_and_copied_as_itself() -> None:
    torch._dynamo.reset()
    network = random_network(Plain, 0)
    other = copy.deepcopy(network)
    compiled = torch.compile(network, backend="aot_eager")
    runs = [onefold.PersistentTraining(model, STEPS) for model in (compiled, other)]
    for model, run in zip((compiled, other), runs, strict=True):
        for score in range(2):
            train(model, run)
            run.record(score)
            run.restart()
    assert type(runs[0].best()) is Plain
    for name, tensor in bits(runs[0].best()).items():
        assert torch.allclose(tensor, bits(runs[1].best())[name], atol=1e-5)


def test_a_compiled_step_may_hold_the_penalty() -> None:
    torch._dynamo.reset()
    network = random_network(Plain, 0)
    run, (x, y) = run_of(network), examples(16, 0)

    def loss() -> Tensor:
        return F.cross_entropy(network(x), y) + run.penalty()

    loss().backward()  # type: ignore[no-untyped-call]
    expected = found(run)
    network.zero_grad()
    torch.compile(loss, backend="aot_eager")().backward()
    assert distance(found(run), expected) < 1e-5


def _rank(rank: int, store: str, folder: str) -> None:
    """One of two processes: two rounds, and then the gradients of a step on half of a batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    refused = ""
    try:
        onefold.PersistentTraining(random_network(Plain, rank), STEPS)
    except PersistentError as error:
        refused = str(error)
    network = random_network(
        Plain, rank
    )  # what ranks start from differs until the wrapper tells them
    parallel = nn.parallel.DistributedDataParallel(network)
    run, (x, y) = (
        onefold.PersistentTraining(parallel, STEPS, store=f"{folder}/rounds"),
        examples(16, 0),
    )
    half = slice(8 * rank, 8 * rank + 8)
    for score in range(2):
        optimiser = torch.optim.SGD(parallel.parameters(), 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            (F.cross_entropy(parallel(x[half]), y[half]) + run.penalty()).backward()
            optimiser.step()
            run.step()
        run.record(score + 10 * rank)
        run.restart()
    move(network, 5)
    parallel.zero_grad()
    expected = definition(run)[1]
    loss = {
        n: g.clone()
        for n, g in zip(
            expected,
            torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters())),
            strict=True,
        )
    }
    for _ in range(2):  # the second time tells whether the first left the reducer ready
        parallel.zero_grad()
        (F.cross_entropy(parallel(x[half]), y[half]) + run.penalty()).backward()
    result = {
        "found": found(run),
        "expected": {n: g + loss[n] for n, g in expected.items()},
        "scores": run.scores,
        "refused": refused,
    }
    torch.save({**result, "best": run.best().state_dict()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_gradients_solutions_and_scores() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.multiprocessing.spawn(_rank, (str(Path(folder) / "store"), folder), nprocs=2)  # type: ignore[no-untyped-call]
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank in ranks:
        assert distance(rank["found"], rank["expected"]) < 1e-5
        assert rank["scores"] == [0.0, 1.0]
        assert "begin with different weights" in rank["refused"]
    assert same_bits(ranks[0]["best"], ranks[1]["best"])


MISTAKES: list[tuple[dict[str, Any], type[OnefoldError], str]] = [
    ({"strength": -1.0}, PersistentError, "strength is a number of 0 or more, not -1.0"),
    ({"strength": float("nan")}, PersistentError, "strength is a number of 0 or more, not nan"),
    ({"strength": float("inf")}, PersistentError, "not inf"),
    ({"strength": "big"}, PersistentError, "not 'big'"),
    ({"width": 0.0}, PersistentError, "width is a number above 0, not 0.0"),
    ({"anneal": (0.8, 0.5)}, PersistentError, r"0 <= a <= b <= 1, not \(0.8, 0.5\)"),
    ({"anneal": (0.8,)}, PersistentError, "0 <= a <= b <= 1"),
    ({"anneal": 0.5}, PersistentError, "0 <= a <= b <= 1"),
    ({"steps_per_round": 0}, PersistentError, "at least 1, not steps_per_round=0"),
    ({"steps_per_round": 1.5}, PersistentError, "not steps_per_round=1.5"),
    ({"memory": 0}, PersistentError, "at least 1, or None for all, not 0"),
    ({"seed": -1}, PersistentError, "seed is a whole number"),
    ({"kernel": "gausian"}, PersistentError, "no kernel named 'gausian'; did you mean 'gaussian'?"),
    ({"kernel": "function"}, PersistentError, "'function' compares predictions; pass reference="),
    ({"kernel": "function", "reference": torch.zeros(3, 5)}, DataError, "cannot run on"),
    (
        {"reference": torch.zeros(2, 1, 8, 8)},
        PersistentError,
        "'gaussian' compares parameters; leave reference= out",
    ),
    ({"scope": ["hed"]}, SettingError, "'hed' of `include` matches no part"),
    ({"scope": "hed"}, SettingError, "did you mean 'head'?"),
    ({"scope": []}, SettingError, "is empty"),
    ({"exclude": ["nothing"]}, SettingError, "'nothing' of `exclude` matches no part"),
    ({"exclude": ["*"]}, SettingError, "No part of the network is left"),
    ({"scope": "last:9"}, PersistentError, "this network has 4, so give last:n with n from 1 to 4"),
    ({"scope": "last:two"}, PersistentError, "'last:two' names no layers"),
    ({"precision": "int8"}, PersistentError, "not in 'int8'"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), MISTAKES, ids=[m[2][:30] for m in MISTAKES]
)
def test_options_out_of_range_are_one_sentence(
    options: dict[str, Any], error: type[OnefoldError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        onefold.PersistentTraining(Plain(), **{"steps_per_round": 4, **options})
    assert "\n" not in str(raised.value)


def test_rounds_out_of_order_are_refused() -> None:
    network = random_network(Plain, 0)
    run = onefold.PersistentTraining(network, STEPS)
    acts: list[tuple[Callable[[], object], str]] = [
        (run.restart, r"Round 0 has no recorded solution yet; call record\(score\)"),
        (run.best, r"No round has been recorded yet, so there is nothing for best\(\)"),
        (run.ensemble, r"nothing for ensemble\(\)"),
        (lambda: run.network(0), "no recorded round 0"),
        (lambda: run.restart("other"), "not 'other'"),
        (lambda: run.record("good"), "not 'good'"),
        (lambda: run.record(float("nan")), "score is NaN"),
    ]
    for act, message in acts:
        with pytest.raises(PersistentError, match=message):
            act()
    run.record(1.0)
    with pytest.raises(PersistentError, match="Round 0 is recorded already; call restart"):
        run.record(1.0)
    with pytest.raises(PersistentError, match="cannot be abandoned"):
        run.restart(abandon=True)


def test_a_diverged_round_is_refused_by_name_and_can_be_repeated() -> None:
    network = random_network(Residual, 0)
    before, run = bits(network), onefold.PersistentTraining(network, STEPS)
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(
        PersistentError,
        match=r"Round 0 ended in no solution: 'conv1.weight' holds NaN .* restart\(abandon=True\)",
    ):
        run.record(0.1)
    assert run.solutions == []
    run.restart(abandon=True)
    assert (run.round, run.steps) == (0, 0)
    assert same_bits(bits(network), before)


def test_a_model_that_changed_between_rounds_is_refused() -> None:
    network = random_network(Plain, 0)
    run = onefold.PersistentTraining(network, STEPS)
    head = network.head
    network.head = nn.Linear(12, 5)
    with pytest.raises(
        PersistentError,
        match=r"'head.weight' was \(4, 12\) of float32 and is now \(5, 12\) of float32",
    ):
        run.record(1.0)
    network.head = head
    run.record(1.0)
    network.extra = nn.Linear(1, 1)
    with pytest.raises(PersistentError, match=r"'extra.weight' was not there and is now \(1, 1\)"):
        run.restart()
    del network.extra
    network.double()
    with pytest.raises(PersistentError, match="of float64"):
        run.restart()
    with pytest.raises(PersistentError, match="run the network on one batch first"):
        onefold.PersistentTraining(nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(3)), 1)
    with pytest.raises(PersistentError, match="no trainable parameter"):
        onefold.PersistentTraining(nn.ReLU(), 1)


def test_a_state_of_another_run_is_refused() -> None:
    state = run_of(random_network(Plain, 0)).state_dict()
    for options, message in (
        ({"kernel": "cosine"}, "another kernel"),
        ({"scope": "head"}, "another scope"),
        ({"precision": "float16"}, "precision"),
    ):
        with pytest.raises(PersistentError, match=message):
            onefold.PersistentTraining(Plain(), STEPS, **options).load_state_dict(state)  # type: ignore[arg-type]
    wider = Plain()
    wider.head = nn.Linear(12, 9)
    with pytest.raises(PersistentError, match="has changed since round 0"):
        onefold.PersistentTraining(wider, STEPS).load_state_dict(state)
