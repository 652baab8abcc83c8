"""The endpoints' gradients equal those of the definition, whatever the network, the shape, the loop
or the number of processes.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from process_groups import in_a_group, run_both
from small_networks import Residual
from soft_networks import Recurrent, Tied, VisionTransformer, inputs_for, random_network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import onefold
from onefold.errors import SubspaceError

KINDS = (Residual, VisionTransformer, Recurrent, Tied)
SHAPES = ("line", "curve", "simplex")


def initialise(network: nn.Module) -> None:
    """For networks with parameters of their own."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.2)


def space_of(
    kind: type[nn.Module],
    shape: str = "simplex",
    dtype: torch.dtype = torch.float64,
    **options: object,
) -> onefold.Subspace:
    network = random_network(kind, 0, dtype) if kind is not Residual else Residual().to(dtype)
    return onefold.Subspace(network, shape, init=initialise, **options).train()


def batch(
    kind: type[nn.Module], dtype: torch.dtype = torch.float64, seed: int = 0, count: int = 16
) -> tuple[Tensor, Tensor]:
    x = (
        torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        if kind is Residual
        else inputs_for(kind, count, seed, dtype)
    )
    return x, torch.randint(0, 4, (count,), generator=torch.Generator().manual_seed(seed))


def definition(
    space: onefold.Subspace, batches: list[tuple[Tensor, Tensor]], scale: float = 1.0
) -> list[list[Tensor]]:
    """The gradients by autograd through the mixture, at the point that is drawn now; the network's
    buffers stay as they are.
    """
    vertices = [
        [v.get_parameter(p.name).detach().clone().requires_grad_() for p in space.varied]
        for v in space.vertices
    ]
    draw = space.drawn_point
    assert draw is not None
    network = copy.deepcopy(space).network
    total = torch.zeros((), dtype=vertices[0][0].dtype)
    for x, y in batches:
        point: dict[str, Tensor] = {}
        for t, ref in enumerate(space.varied):
            mixed = sum(draw.coefficients[k][t] * vertices[k][t] for k in range(len(vertices)))
            assert isinstance(mixed, Tensor)
            point |= {f"{module}.{name}".lstrip("."): mixed for module, name in ref.owners}
        for names, value in point.items():
            owner, _, name = names.rpartition(".")
            setattr(network.get_submodule(owner), name, value)
        loss = F.cross_entropy(network(x), y)
        if space.beta:
            i, j = (
                torch.cat(
                    [
                        vertices[k][t].flatten()
                        for t in range(len(space.varied))
                        if vertices[k][t].dim() > 1
                    ]
                )
                for k in draw.pair
            )
            loss = loss + space.beta * (i @ j) ** 2 / ((i @ i) * (j @ j))
        total = total + scale * loss
    total.backward()  # type: ignore[no-untyped-call]
    return [
        [torch.zeros_like(t) if t.grad is None else t.grad for t in vertex] for vertex in vertices
    ]


def gradients(space: onefold.Subspace) -> list[list[Tensor]]:
    found = [[v.get_parameter(p.name) for p in space.varied] for v in space.vertices]
    return [[torch.zeros_like(t) if t.grad is None else t.grad for t in vertex] for vertex in found]


def distance(ours: list[list[Tensor]], theirs: list[list[Tensor]]) -> float:
    return max(
        (a - b).abs().max().item()
        for v, w in zip(ours, theirs, strict=True)
        for a, b in zip(v, w, strict=True)
    )


def loss_of(space: onefold.Subspace, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(space(x), y) + space.diversity_penalty()


@pytest.fixture(params=["one node", "many nodes"])
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of a point stand in one node of the graph, or in many, as those of a large
    network do.
    """
    if request.param == "many nodes":
        monkeypatch.setattr("onefold.explore.subspace.mixing.PART", 100)


@pytest.mark.slow
@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograd_through_the_mixture(
    kind: type[nn.Module], shape: str, layerwise: bool, nodes: None
) -> None:
    space, (x, y) = space_of(kind, shape, layerwise=layerwise), batch(kind)
    space.sample()
    expected = definition(space, [(x, y)])
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    assert distance(gradients(space), expected) < 1e-9
    assert (
        max(g.abs().max().item() for vertex in expected for g in vertex) > 1e-3
    )  # there is something to be wrong about
    space.zero_grad()
    (loss_of(space, x, y) * 1.001).backward()
    assert distance(gradients(space), expected) > 1e-6  # the comparison tells a tenth of a percent


def test_large_tensors_go_piece_by_piece_and_stay_right() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 3000), nn.ReLU(), nn.Linear(3000, 4)
    ).double()
    space, (x, y) = onefold.Subspace(network, "simplex").train(), batch(Residual)
    space.sample()
    expected = definition(space, [(x, y)])
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    assert distance(gradients(space), expected) < 1e-12


def test_the_way_of_other_devices_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefold.explore.subspace import mixing

    monkeypatch.setattr(mixing, "on_cpu", lambda tensor: False)
    for layerwise in (False, True):
        space, (x, y) = space_of(Residual, layerwise=layerwise), batch(Residual)
        space.sample()
        expected = definition(space, [(x, y)])
        loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
        assert distance(gradients(space), expected) < 1e-12


def test_channels_last_keeps_its_order_and_its_gradients() -> None:
    space = space_of(Residual).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, y = batch(Residual)
    space.sample()
    expected = definition(space, [(x, y)])
    loss_of(space, x.contiguous(memory_format=torch.channels_last), y).backward()
    assert distance(gradients(space), expected) < 1e-9
    convolution = next(p for p in space.parameters() if p.dim() == 4 and p.shape[1] > 1)
    assert convolution.is_contiguous(memory_format=torch.channels_last)


def test_accumulation_at_one_point_adds_up(nodes: None) -> None:
    space = space_of(Residual)
    batches = [batch(Residual, seed=s) for s in range(3)]
    space.sample()
    expected = definition(space, batches, scale=1 / 3)
    for x, y in batches:
        (loss_of(space, x, y) / 3).backward()
    assert distance(gradients(space), expected) < 1e-9


def test_clipping_sees_the_vertices_gradients() -> None:
    space, (x, y) = space_of(Residual), batch(Residual)
    space.sample()
    expected = definition(space, [(x, y)])
    norm = torch.stack([g.norm() for vertex in expected for g in vertex]).norm()
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    assert torch.nn.utils.clip_grad_norm_(space.parameters(), 0.01).item() == pytest.approx(
        norm.item(), rel=1e-9
    )
    assert (
        distance(
            gradients(space), [[g * (0.01 / (norm + 1e-6)) for g in vertex] for vertex in expected]
        )
        < 1e-9
    )


def test_one_step_equals_the_definition_with_momentum_and_decay() -> None:
    space, (x, y) = space_of(Residual), batch(Residual)
    optimiser = torch.optim.SGD(
        space.parameters(), 0.1, momentum=0.9, weight_decay=1e-2, fused=True
    )
    space.sample()
    before = [
        [v.get_parameter(p.name).detach().clone() for p in space.varied] for v in space.vertices
    ]
    expected = definition(space, [(x, y)])
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    after = [[v.get_parameter(p.name).detach() for p in space.varied] for v in space.vertices]
    stepped = [
        [w - 0.1 * (g + 1e-2 * w) for w, g in zip(v, e, strict=True)]
        for v, e in zip(before, expected, strict=True)
    ]
    assert distance(after, stepped) < 1e-12


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_sees_the_point_of_this_step(precision: torch.dtype) -> None:
    """Autocast may keep casts of weights within its context: two steps in one context must use two
    points.
    """
    space, (x, y) = space_of(Residual, dtype=torch.float32), batch(Residual, torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=precision is torch.float16)
    optimiser = torch.optim.SGD(space.parameters(), 0.5)
    with torch.autocast("cpu", precision):
        for _ in range(2):
            space.sample()
            expected = definition(space, [(x, y)])
            optimiser.zero_grad()
            scaler.scale(loss_of(space, x, y)).backward()
            scaler.unscale_(optimiser)
            assert distance(gradients(space), expected) < 2e-2
            assert max(g.abs().max().item() for vertex in expected for g in vertex) > 0.1
            scaler.step(optimiser)
            scaler.update()


class Checkpointed(nn.Module):
    """A network whose first half is computed again on the way back."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()
        )
        self.head = nn.Linear(16, 4)
        self.reentrant, self.checkpointed = reentrant, True

    def forward(self, x: Tensor) -> Tensor:
        hidden = (
            checkpoint(self.first, x, use_reentrant=self.reentrant)
            if self.checkpointed
            else self.first(x)
        )
        assert isinstance(hidden, Tensor)
        logits: Tensor = self.head(hidden)
        return logits


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_computes_again_at_the_same_point(reentrant: bool) -> None:
    space, (x, y) = (
        onefold.Subspace(Checkpointed(reentrant).double(), "line").train(),
        batch(Residual),
    )
    x.requires_grad_()  # reentrant checkpoints want an input with a gradient
    space.sample()
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    found = [[g.clone() for g in vertex] for vertex in gradients(space)]
    space.zero_grad()
    space.network.checkpointed = False  # type: ignore[assignment]
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    assert distance(found, gradients(space)) < 1e-12
    assert max(g.abs().max().item() for vertex in found for g in vertex) > 1e-3


@pytest.mark.slow
def test_compiled_networks_follow_the_point() -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()  # of other tests
    space, (x, y) = space_of(Residual), batch(Residual)
    compiled = torch.compile(space, backend="aot_eager")
    for _ in range(4):
        space.sample()
        expected = definition(space, [(x, y)])
        space.zero_grad()
        (F.cross_entropy(compiled(x), y) + space.diversity_penalty()).backward()
        assert distance(gradients(space), expected) < 1e-9
    assert counters["frames"]["ok"] <= 4, "the network is compiled anew for every draw"


def test_two_draws_in_one_graph_are_refused(nodes: None) -> None:
    space, (x, y) = space_of(Residual), batch(Residual)
    space.sample()
    first = F.cross_entropy(space(x), y)
    space.sample()
    second = F.cross_entropy(space(x), y)
    with pytest.raises(SubspaceError, match="no longer stands in the network"):
        (first + second).backward()


def test_fixed_vertices_get_no_gradient(nodes: None) -> None:
    space, (x, y) = space_of(Residual, "curve", fixed=(0, 2)), batch(Residual)
    loss_of(space, x, y).backward()  # type: ignore[no-untyped-call]
    assert all(
        p.grad is None and not p.requires_grad
        for k in (0, 2)
        for p in space.vertices[k].parameters()
    )
    assert all(p.grad is not None for p in space.vertices[1].parameters())


def test_a_modified_vertex_is_told_from_a_stale_penalty(nodes: None) -> None:
    space, (x, y) = space_of(Residual), batch(Residual)
    loss = loss_of(space, x, y)
    with torch.no_grad():
        next(space.parameters()).add_(1.0)
    with pytest.raises(SubspaceError, match="modified between"):
        loss.backward()  # type: ignore[no-untyped-call]


@in_a_group
def _rank(rank: int, draws: str, results: str) -> None:
    """One of two processes: a step on its half of a batch."""
    space, (x, y) = space_of(Residual, draws=draws), batch(Residual)
    parallel = nn.parallel.DistributedDataParallel(space)
    half = slice(8 * rank, 8 * rank + 8)
    for _ in range(2):  # the second step tells whether the first left the reducer ready
        space.sample()
        expected = definition(space, [(x[half], y[half])])
        parallel.zero_grad()
        (F.cross_entropy(parallel(x[half]), y[half]) + space.diversity_penalty()).backward()
    torch.save(
        {"expected": expected, "found": gradients(space), "point": space.coefficients},
        f"{results}/{rank}.pt",
    )


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["shared", "per rank"])
def test_two_processes_average_the_gradients_of_their_points(draws: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_both(_rank, f"file://{folder}/store", draws, folder)
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    mean = [
        [(a + b) / 2 for a, b in zip(v, w, strict=True)]
        for v, w in zip(ranks[0]["expected"], ranks[1]["expected"], strict=True)
    ]
    assert torch.equal(ranks[0]["point"], ranks[1]["point"]) == (draws == "shared")
    for rank in ranks:
        assert distance(rank["found"], mean) < 1e-9
