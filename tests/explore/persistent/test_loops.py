"""The penalty in loops of training: scalers, clipping, precisions, compiled networks."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from persistent_runs import STEPS, check, definition, distance, found, run_of, train
from small_networks import Plain, Residual, examples
from soft_networks import bits, random_network
from torch import Tensor, nn

import onefold

KERNELS = {"gaussian": 0.8, "inverse": 1.3, "hinge": 1.5, "cosine": 1.2}


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
    loss = {n: p.grad.to_dense().clone() for n, p in network.named_parameters()}
    run.add_gradient()
    assert distance({n: g.to_dense() - loss[n] for n, g in found(run).items()}, expected) < 1e-6
    channels = random_network(Plain, 0, torch.float64).to(memory_format=torch.channels_last)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
