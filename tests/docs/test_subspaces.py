"""The code of the pages on subspaces runs as it stands there and does what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import Small, pattern_images
from guide_pages import commands, run_page, trained
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import onefold as of


@pytest.fixture(scope="module")
def images() -> tuple[DataLoader, DataLoader]:
    return pattern_images()


@pytest.fixture
def own(
    images: tuple[DataLoader, DataLoader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the pages say stands for the reader's own."""
    monkeypatch.chdir(tmp_path)
    a, b = (trained(images[0], seed) for seed in (0, 1))
    return {"network": Small, "loader": images[0], "test": images[1], "a": a, "b": b}


def test_the_guide(root: Path, own: dict[str, Any], images: tuple[DataLoader, DataLoader]) -> None:
    names = run_page(root, "guides/subspaces.md", own)
    loader, test = images
    losses = names["losses"]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    assert type(names["midpoint"]) is Small
    assert of.evaluate(names["midpoint"], test).accuracy > 0.8
    x, _ = next(iter(test))
    plain = Small()
    plain.load_state_dict(of.load("midpoint.safetensors"))
    torch.testing.assert_close(plain.eval()(x), names["midpoint"](x))
    assert all(
        type(names[name]) is Small and not names[name].training for name in ("vertex", "between")
    )
    torch.testing.assert_close(
        names["ensemble"](x).logsumexp(-1), torch.zeros(len(x)), rtol=0, atol=1e-5
    )
    with pytest.raises(of.OnefoldError, match="needs data"):
        names["space"].midpoint()

    for end, model in ((0, own["a"]), (2, own["b"])):
        torch.testing.assert_close(
            names["curve"].vertex(end, loader).first.weight, model.first.weight
        )
    bent, straight = (
        of.evaluate(names[name].at(0.5, loader), test) for name in ("curve", "straight")
    )
    assert bent.nll < straight.nll

    line, triangle = names["line"], names["triangle"]
    assert len(triangle.vertices) == 3
    for k in (0, 1):
        same(triangle.vertices[k], line.vertices[k])
    same(names["again"], names["space"])
    assert [ref.name for ref in names["head"].varied] == ["last.weight", "last.bias"]
    torch.testing.assert_close(names["tuned"].vertex(1, loader).first.weight, own["b"].first.weight)


def same(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), rtol=0, atol=0)


def test_the_command_of_the_guide(root: Path, own: dict[str, Any], onefold: Callable) -> None:
    ((_, *command),) = commands(root, "guides/subspaces.md")
    command[command.index("--epochs") + 1] = "1"
    done = onefold(*command)
    assert done.status == 0, done.err
    assert Path("space/midpoint.safetensors").exists()


def test_how_subspaces_work(root: Path, own: dict[str, Any]) -> None:
    names = run_page(root, "how_it_works/subspaces.md", own)
    assert names["space"].drawn == 2
    assert {p.dtype for p in names["space"].parameters()} == {torch.float32}
    assert bool(names["loss"].isfinite())
    drawn = names["drawn"]
    with pytest.raises(of.OnefoldError, match="pass init="):
        of.Subspace(names["Scaled"](), shape="line")
    assert type(drawn.midpoint()) is names["Scaled"]
    first, second = (vertex.get_parameter("scale") for vertex in drawn.vertices)
    assert not torch.equal(first, second)


def test_a_loaded_run_goes_on_with_the_same_points(images: tuple[DataLoader, DataLoader]) -> None:
    batches = list(images[0])

    def steps(space: nn.Module, optimiser: torch.optim.Optimizer, these: list[Any]) -> None:
        for x, y in these:
            optimiser.zero_grad()
            (F.cross_entropy(space(x), y) + space.diversity_penalty()).backward()
            optimiser.step()

    def made(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        space = of.Subspace(Small(), shape="curve", seed=1)
        return space, torch.optim.SGD(space.parameters(), lr=0.05, momentum=0.9)

    whole, optimiser = made(3)
    steps(whole, optimiser, batches)
    first, optimiser = made(3)
    steps(first, optimiser, batches[:4])
    again, of_again = made(4)
    again.load_state_dict(first.state_dict())
    of_again.load_state_dict(optimiser.state_dict())
    steps(again, of_again, batches[4:])
    same(again, whole)


def test_what_the_page_says_raises() -> None:
    space, x = of.Subspace(nn.Sequential(nn.Linear(4, 3)), shape="line"), torch.randn(5, 4)
    loss = space(x).sum()
    space.midpoint()
    with pytest.raises(of.OnefoldError, match="no longer stands"):
        loss.backward()
    loss = space(x).sum()
    space.eval()
    with pytest.raises(of.OnefoldError, match="no longer stands"):
        loss.backward()
    with pytest.raises(of.OnefoldError, match="belongs to a step of training"):
        space.diversity_penalty()
    space.train()
    space(x)
    penalty = space.diversity_penalty()
    with torch.no_grad():
        next(space.parameters()).mul_(2)
    with pytest.raises((RuntimeError, of.OnefoldError), match="modified"):
        penalty.backward()


def test_a_new_point_compiles_nothing_anew() -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    space = of.Subspace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), shape="simplex")
    compiled = torch.compile(space, backend=counter)
    for _ in range(5):
        (compiled(torch.ones(6, 4)).sum() + space.diversity_penalty()).backward()
    assert space.drawn == 5
    assert counter.frame_count == 1
