"""Members of random weights in memory and in files, and comparisons of what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from small_networks import Plain, Residual, loader
from torch import Tensor, nn

import onefold
from onefold.alignment import Alignment
from onefold.batchnorm import reestimate

COUNT = 4


def members_of(build: Callable[[], nn.Module], count: int = COUNT) -> list[nn.Module]:
    """Networks with random weights and, where they have norms, statistics that differ."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = build().double().eval()
        if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            reestimate(model, [torch.randn(64, 1, 8, 8, dtype=torch.float64)])
        found.append(model)
    return found


def written(models: list[nn.Module], folder: Path) -> list[Path]:
    paths = [folder / f"{type(models[0]).__name__}{k}.safetensors" for k in range(len(models))]
    for model, path in zip(models, paths, strict=True):
        onefold.save(model, path)
    return paths


def doubles(batch: int = 40) -> list[tuple[Tensor, Tensor]]:
    return [(x.double(), y) for x, y in loader(200, batch=batch)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "Plain": lambda: Plain().double(),
    "Residual": lambda: Residual().double(),
}


def assert_same(one: Alignment, other: Alignment) -> None:
    """All that was measured and solved, bit for bit."""
    assert one.maps.keys() == other.maps.keys()
    assert (one.matchers, one.fallbacks, one.conditions) == (
        other.matchers,
        other.fallbacks,
        other.conditions,
    )
    assert (one.examples, one.reference, one.members, one.probes) == (
        other.examples,
        other.reference,
        other.members,
        other.probes,
    )
    for group, maps in one.maps.items():
        for a, b in zip(maps, other.maps[group], strict=True):
            assert a.kind == b.kind
            assert torch.equal(a.forward, b.forward)
            assert (a.inverse is None) == (b.inverse is None)
            assert a.inverse is None or b.inverse is None or torch.equal(a.inverse, b.inverse)
        assert torch.equal(one.scores[group], other.scores[group])


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
