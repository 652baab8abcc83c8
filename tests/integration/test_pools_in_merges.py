"""Folds and distillation aim at a pool by classes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from small_networks import Plain, loader, members
from torch import nn

import onefold
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.fold import LeastSquares, Polish, merge, polish
from onefold.sources import DiskMembers


def skewed(model: nn.Module, shifts: list[float]) -> nn.Module:
    """A copy whose answers lean to some classes, as if it had seen more of them."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.weight.mul_(0.1)  # less sure than the lean is strong
        twin.head.bias.mul_(0.1).add_(torch.tensor(shifts))
    return twin


@pytest.mark.slow
def test_folds_aim_at_the_pool() -> None:
    networks, test = members(Plain, 2), loader(512, seed=99, batch=128)
    images = [x for x, _ in loader(512)]
    lean = [skewed(networks[0], [4.0, 4.0, 0.0, 0.0]), skewed(networks[1], [0.0, 4.0, 4.0, 0.0])]
    before = copy.deepcopy(lean)
    accuracy = {}
    for ensemble in ("probabilities", "classes"):
        result = merge(lean, images, align="none", fold="least_squares", ensemble=ensemble)
        accuracy[ensemble] = onefold.evaluate(result.model, test).accuracy
    assert accuracy["classes"] > accuracy["probabilities"] + 0.05
    assert result.report.folded["classes"]["estimated"]
    assert any("taken to be even" in note for note in result.report.warnings)
    seen = torch.tensor(result.report.folded["classes"]["seen"])
    assert seen[0, :2].min() > 5 * seen[0, 2:].max()
    assert seen[1, 1:3].min() > 5 * seen[1, [0, 3]].max()
    assert all(torch.equal(a.head.bias, b.head.bias) for a, b in zip(lean, before, strict=True))
    pool = ClassPool.from_dict(result.report.folded["classes"])
    torch.testing.assert_close(pool.seen, onefold.class_pool(lean, images).seen)
    pool = onefold.class_pool(lean, images)
    same = merge(lean, images, align="none", fold="least_squares", ensemble=pool).model
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in result.model.state_dict().items())
    own = merge(lean, images, align="none", fold=LeastSquares(ensemble="classes"), polish=1)
    assert (
        own.report.polished["ensemble"] == "classes"
    )  # of the fold, where the merge is not told another
    assert own.report.folded["classes"] == result.report.folded["classes"]
    led = merge(
        lean, images, align="none", fold="least_squares", ensemble="classes", weights=[0.9, 0.1]
    )
    assert led.report.folded["classes"]["weights"] == [0.9, 0.1]
    assert own.report.folded["classes"]["weights"] == [0.5, 0.5]


@pytest.mark.slow
def test_a_fold_says_every_class_as_often_as_the_pool() -> None:
    networks, images = members(Plain, 2), [x for x, _ in loader(512)]
    lean = [skewed(networks[0], [4.0, 4.0, 0.0, 0.0]), skewed(networks[1], [0.0, 4.0, 4.0, 0.0])]
    pool = onefold.class_pool(lean, images)
    x = torch.cat(images)
    off = {}
    for ensemble in ("probabilities", pool):
        folded = merge(lean, images, align="none", fold="least_squares", ensemble=ensemble).model
        with torch.no_grad():
            answers = [m(x).double() for m in lean]
            wanted = (
                (pool if ensemble is pool else mean_pool([0.5, 0.5]))
                .combined(answers)
                .softmax(-1)
                .mean(0)
            )
            off[ensemble] = float((folded(x).double().softmax(-1).mean(0) - wanted).abs().max())
    assert off[pool] < 1e-4
    assert off["probabilities"] > 1e-3  # the control: squares alone do not see to it


@pytest.mark.slow
def test_polish_aims_at_the_pool(tmp_path: Path) -> None:
    networks, test = members(Plain, 2), loader(512, seed=99, batch=128)
    images = [x for x, _ in loader(512)]
    lean = [skewed(networks[0], [4.0, 4.0, 0.0, 0.0]), skewed(networks[1], [0.0, 4.0, 4.0, 0.0])]
    plain, classes = (
        polish(lean[0], lean, images, Polish(passes=4, lr=1e-2, ensemble=e))
        for e in ("probabilities", "classes")
    )
    assert classes.ensemble == "classes"
    assert (
        onefold.evaluate(classes.model, test).accuracy
        > onefold.evaluate(plain.model, test).accuracy + 0.05
    )
    assert (
        onefold.evaluate(
            lean[:1], test, ensemble=ClassPool.from_dict(classes.classes).only(0)
        ).accuracy
        > onefold.evaluate(lean[0], test).accuracy
    )
    merged = merge(lean, images, align="none", fold="least_squares", ensemble="classes", polish=1)
    assert merged.report.polished["ensemble"] == "classes"
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for model, path in zip(lean, paths, strict=True):
        onefold.save(model, path)
    disk = polish(
        lean[0], DiskMembers(Plain, paths), images, Polish(passes=4, lr=1e-2, ensemble="classes")
    )
    torch.testing.assert_close(disk.model.state_dict(), classes.model.state_dict())
