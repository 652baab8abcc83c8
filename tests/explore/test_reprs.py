"""Reprs are short, whatever the number of layers, networks, classes and examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.measure import evaluate_all, reliability, triangle
from onefold.tasks.answers import Answers


def deep(layers: int = 20, width: int = 6, classes: int = 300) -> nn.Module:
    hidden = [module for _ in range(layers - 1) for module in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def data(count: int = 900, classes: int = 300) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, generator=generator)
    return [(x, torch.arange(count) % classes)]


def results() -> dict[str, Any]:
    torch.manual_seed(0)
    models = [deep() for _ in range(12)]
    space = onefold.Subspace(models[0], vertices=40, fixed=range(30))
    run = onefold.PersistentTraining(deep(), 1)
    run.record(0.5)
    pairs = onefold.measure_pairs(models[:3], data(), align=False, points=3)
    evaluation = evaluate_all(models, data())
    merged = onefold.merge(models[:2], [x for x, _ in data()], align="permutation", fold="average")
    assert merged.alignment is not None
    return {
        "MergeResult": merged,
        "Alignment": merged.alignment,
        "SymmetrySpec": merged.alignment.spec,
        "Subspace": space,
        "Subspace of a network as a whole": onefold.Subspace(nn.Linear(2, 2)),
        "PersistentTraining": run,
        "Solution": run.solutions[0],
        "Group": run.groups[0],
        "Ensemble": onefold.Ensemble(models),
        "Compared": pairs,
        "Pairs": pairs.plain,
        "LinearPath": onefold.barrier(models[0], models[1], data(), points=31),
        "Triangle": triangle(*models[:3], data(), resolution=5),
        "Evaluation": evaluation,
        "Scores": evaluation.ensemble,
        "Scores with a renumbering": renumbered(),
        "Answers": evaluation.ensemble.answers,
        "Reliability": reliability(models[0](data()[0][0]).detach(), data()[0][1], bins=500),
        "ClassPool": onefold.class_pool(models, counts=torch.ones(12, 300)),
        "ClassPool of a few": onefold.class_pool(models[:2], counts=torch.ones(2, 300)),
    }


def renumbered() -> Any:
    """Scores of a network that gives the next class for every label."""
    labels = torch.arange(300).repeat_interleave(10)
    logits = 9 * torch.nn.functional.one_hot((labels + 1) % 300, 300).float()
    scores = onefold.evaluate(nn.Identity(), [(logits, labels)])
    assert scores.renumbered is not None
    return scores


RESULTS = results()


@pytest.mark.parametrize("name", RESULTS)
def test_a_repr_is_at_most_thirty_lines(name: str) -> None:
    text = repr(RESULTS[name])
    assert len(text) <= 3000
    assert len(text.splitlines()) <= 30
    assert text.startswith(name.split()[0] + "(")


def test_a_spec_counts_its_parts_and_prints_a_table() -> None:
    spec = RESULTS["SymmetrySpec"]
    assert len(repr(spec).splitlines()) <= 3
    assert repr(spec).startswith("SymmetrySpec(19 groups, 20 layers, 0 norms, 89.6 % of")
    assert len(str(spec).splitlines()) > 19


def test_a_subspace_says_what_it_is_of() -> None:
    text = repr(onefold.Subspace(deep(), "line", beta=0.5))
    assert text.startswith("Subspace(Sequential, shape='line', vertices=2,")
    assert "beta=0.5" in text
    assert "tensors=40" in text


def test_a_path_says_its_barrier() -> None:
    path = RESULTS["LinearPath"]
    assert f"barrier={path.barrier:.4g}" in repr(path)
    assert "points=31" in repr(path)


def test_answers_say_how_many_are_right() -> None:
    hits = torch.tensor([True, False, True])
    assert repr(Answers(hits, torch.zeros(3), "")) == "Answers(n=3, right=2)"
