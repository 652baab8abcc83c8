"""Batches of unequal sizes, with series and texts of unequal lengths, in every function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from unequal_batches import EXAMPLES, Series, Text, called, members, series, singly, texts

import onefold as of

KINDS: dict[str, tuple[type[nn.Module], Callable[[], list[Any]]]] = {
    "series": (Series, series),
    "texts": (Text, texts),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[list[nn.Module], list[Any]]:
    """Two trained networks, and their batches."""
    build, data = KINDS[request.param]
    return members(build, data()), data()


def finite(model: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_scores_are_those_of_every_example_alone(kind: tuple[Any, Any]) -> None:
    models, data = kind
    found, alone = (of.evaluate(models, batches) for batches in (data, singly(data)))
    assert found.n == alone.n == EXAMPLES
    assert found.accuracy == alone.accuracy
    assert found.nll == pytest.approx(alone.nll, rel=1e-4)
    one, other = (of.barrier(*models, batches, points=3) for batches in (data, singly(data)))
    assert one.losses == pytest.approx(other.losses, rel=1e-4)


def test_networks_are_compared(kind: tuple[Any, Any]) -> None:
    models, data = kind
    first, alone = (of.compare_networks(models, batches) for batches in (data, singly(data)))
    assert str(first) == str(alone)


MATCHERS: tuple[Any, ...] = ("permutation", "rotation", "zipit", of.CCA(regularization=0.1))


@pytest.mark.parametrize("matcher", MATCHERS, ids=str)
def test_alignments_count_all_examples(kind: tuple[Any, Any], matcher: Any) -> None:
    models, data = kind
    alignment = of.align(models, data, method=matcher)
    assert alignment.examples == EXAMPLES
    aligned = alignment.apply(models)
    assert all(finite(model) for model in aligned)
    if matcher == "permutation":
        for one, other in zip(models, aligned, strict=True):
            for item in data:
                torch.testing.assert_close(
                    called(one, item)[0], called(other, item)[0], rtol=1e-4, atol=1e-4
                )


def test_series_without_padding_give_one_alignment_however_they_are_batched() -> None:
    """Texts do not: what they are padded by counts among the positions."""
    models, data = members(Series, series()), series()
    found, alone = (
        of.align(models, batches, method="permutation") for batches in (data, singly(data))
    )
    silent = [silent_units(model, data) for model in models]
    for group, maps in found.maps.items():
        for k, (one, other) in enumerate(zip(maps, alone.maps[group], strict=True)):
            changed = one.forward != other.forward
            assert set(one.forward[changed].tolist()) <= silent[k], group


def silent_units(model: Series, data: list[Any]) -> set[int]:
    """Hidden units that no example moves; which of them is which is anybody's guess."""
    with torch.no_grad():
        found = torch.cat([model.hidden(model.body(x)[0].mean(1)).relu() for x, _ in data])
    return set(torch.nonzero(found.std(0) == 0).flatten().tolist())


WAYS: dict[str, dict[str, Any]] = {
    "average": {"fold": "average", "align": "permutation"},
    "correlated": {"fold": "correlated_average", "align": "permutation"},
    "zipit": {"fold": "average", "align": "zipit"},
    "rotation": {"fold": "average", "align": "rotation"},
    "least squares": {"fold": "least_squares", "align": "permutation"},
    "pruning": {"fold": of.LeastSquares(target="pruning"), "align": "none"},
    "soup": {"fold": "greedy_soup", "align": "permutation"},
    "auto": {"fold": "auto", "align": "permutation"},
    "default": {},
    "polish": {"fold": "average", "align": "permutation", "polish": of.Polish(passes=1)},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_fold(kind: tuple[Any, Any], way: str) -> None:
    models, data = kind
    result = of.merge(models, data, **WAYS[way])
    held_out = EXAMPLES // 3 if way in ("auto", "default") else 0  # to choose by
    assert EXAMPLES - held_out <= result.report.examples <= EXAMPLES
    assert finite(result.model)
    assert of.evaluate(result.model, data).n == EXAMPLES


@pytest.mark.parametrize("level", ["layer", "model"])
def test_gates(kind: tuple[Any, Any], level: str) -> None:
    models, data = kind
    soft = of.SoftMerge(models, level=level)
    of.fit_gates(soft, data, steps=10)
    assert finite(soft.harden())
    assert of.evaluate(soft.harden(), data).n == EXAMPLES


def test_partial_merges(kind: tuple[Any, Any], tmp_path: Path) -> None:
    models, data = kind
    until = "body" if isinstance(models[0], Series) else "down"
    found = of.partial_merge(models, data, until=until)
    assert of.evaluate(found.model, data).n == EXAMPLES
    file = of.fold.save_partial(found.model, tmp_path / "partial.safetensors")
    again = of.fold.load_partial(file, models)
    for item in data:
        assert torch.equal(called(found.model, item)[0], called(again, item)[0])


def test_subspaces_and_rounds_in_a_loop_of_ones_own(kind: tuple[Any, Any]) -> None:
    models, data = kind
    space = of.Subspace(type(models[0])(), shape="simplex")
    rounds_of = type(models[0])()
    reference = data[0][0] if isinstance(data[0], tuple) else None
    more: dict[str, Any] = {} if reference is None else {"kernel": "function"}
    run = of.PersistentTraining(
        rounds_of, len(data), **({**more, "reference": reference} if more else {})
    )
    for network in (space, rounds_of):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for item in data * 2:
            outputs, labels = called(network, item)
            optimizer.zero_grad()
            functional.cross_entropy(outputs, labels).backward()
            optimizer.step()
    assert finite(space.midpoint(data))
    assert run is not None


LOADER = """
import torch
from unequal_batches import Series, series

def load(split, seed=0, shuffle=False):
    data = series()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    return [data[k] for k in order] if shuffle else data
"""


@pytest.mark.slow
def test_the_commands(onefold: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(LOADER)
    files = [
        of.save(model, tmp_path / f"{k}.safetensors")
        for k, model in enumerate(members(Series, series()))
    ]
    flags = ["--model", f"{tmp_path / 'own.py'}:Series", "--data", f"{tmp_path / 'own.py'}:load"]
    out = ["-o", tmp_path / "f.safetensors", "--force"]
    own = ["--val-data", flags[-1], "--val-split", "test"]
    for command in (
        ["eval", *files, *flags],
        ["compare", *files, *flags],
        ["merge", *files, *flags, "--eval-split", "test", *out],
        ["soft", *files, *flags, "--steps", "5", *out],
        ["subspace", *flags, "--epochs", "2", "-o", tmp_path / "space"],
        ["persist", *flags, "--rounds", "2", "--epochs", "1", *own, "-o", tmp_path / "run"],
    ):
        done = onefold(*command)
        assert done.status == 0, done.err
