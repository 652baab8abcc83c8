"""Ensemble: the name of a mean, one check for all of them, and what the mean is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.ensemble import (
    ENSEMBLE_MEANS,
    ClassPool,
    Ensemble,
    check_ensemble,
    mean_output,
    mean_pool,
    pooled,
)
from onefold.errors import DataError, MembersError, SettingError
from onefold.fold import LeastSquares, merge
from onefold.inference import Output

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def networks(outputs: int = 3, count: int = 3) -> list[nn.Linear]:
    torch.manual_seed(1)
    return [nn.Linear(5, outputs).double() for _ in range(count)]


class Pictures(nn.Module):
    """Logits (n, classes, 2, 2), or a mapping with these and something else."""

    def __init__(self, seed: int, mapping: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.mapping = nn.Linear(5, 12).double(), mapping

    def forward(self, x: Tensor) -> Any:
        logits = self.layer(x).view(-1, 3, 2, 2)
        return {"mask": logits, "other": x} if self.mapping else logits


def test_the_public_name() -> None:
    assert onefold.Ensemble is Ensemble
    assert "Ensemble" in dir(onefold)


def test_means_by_their_definitions() -> None:
    models = networks()
    each = torch.stack([model(X) for model in models])
    wanted = {
        "probabilities": each.softmax(-1).mean(0),
        "logits": each.mean(0).softmax(-1),
        "outputs": each.mean(0).softmax(-1),
    }
    assert set(wanted) == set(ENSEMBLE_MEANS)
    for mean, probabilities in wanted.items():
        found = onefold.Ensemble(models, mean=mean)(X)  # type: ignore[arg-type]
        torch.testing.assert_close(found.softmax(-1), probabilities)
    assert torch.equal(onefold.Ensemble(models)(X), onefold.Ensemble(models, "probabilities")(X))
    assert not torch.allclose(wanted["probabilities"], wanted["logits"])


@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 4, 2)])
def test_outputs_of_any_shape_are_averaged(shape: tuple[int, ...]) -> None:
    models = [
        nn.Sequential(m, nn.Unflatten(1, shape[1:] or (1,)))
        for m in networks(8 if shape[1:] == (4, 2) else 1)
    ]
    if len(shape) == 1:
        models = [nn.Sequential(m, nn.Flatten(0)) for m in networks(1)]
    found = onefold.Ensemble(models, mean="outputs")(X)
    assert found.shape == shape
    torch.testing.assert_close(found, sum(model(X) for model in models) / 3)
    if shape != (12, 4, 2):  # no classifier's outputs have no probabilities
        with pytest.raises(DataError, match="regressor"):
            onefold.Ensemble(models)(X)


def test_the_output_that_is_meant() -> None:
    models = [Pictures(seed, mapping=True) for seed in range(2)]
    each = torch.stack([model(X)["mask"] for model in models])
    plain = onefold.Ensemble(models, mean="outputs", output="mask")(X)
    torch.testing.assert_close(plain, each.mean(0))
    likely = onefold.Ensemble(models, output=Output("mask", class_axis=1))(X)
    torch.testing.assert_close(likely.exp(), each.softmax(2).mean(0))
    with pytest.raises(DataError, match="several outputs"):
        onefold.Ensemble(models)(X)
    with pytest.raises(DataError, match="on which axis"):
        onefold.Ensemble(models, output="mask")(X)


def test_a_pool_is_a_mean() -> None:
    models = networks(count=2)
    pool = onefold.class_pool(models, counts=[[90, 5, 5], [5, 45, 45]])
    ensemble = onefold.Ensemble(models, mean=pool)
    torch.testing.assert_close(ensemble(X), pool.combined([model(X) for model in models]))
    weighted = onefold.Ensemble(models, mean=mean_pool([3.0, 1.0]))(X).softmax(-1)
    each = [model(X).softmax(-1) for model in models]
    torch.testing.assert_close(weighted, 0.75 * each[0] + 0.25 * each[1])
    pictures = [Pictures(seed) for seed in range(2)]
    on_axis = onefold.Ensemble(pictures, mean=pool, output=Output(class_axis=1))(X)
    assert on_axis.shape == (12, 3, 2, 2)
    pixel = pool.combined([model(X)[:, :, 1, 0] for model in pictures])
    torch.testing.assert_close(on_axis[:, :, 1, 0], pixel)


def test_evaluating_an_ensemble_is_evaluating_its_members_together() -> None:
    models = networks(count=2)
    data = [(X, torch.arange(12) % 3)]
    pool = onefold.class_pool(models, counts=[[9, 5, 5], [5, 4, 9]])
    for mean in (*ENSEMBLE_MEANS, pool):
        together = onefold.evaluate(models, data, ensemble=mean)
        alone = onefold.evaluate(onefold.Ensemble(models, mean=mean), data)
        assert together.nll == pytest.approx(alone.nll)
        assert together.accuracy == alone.accuracy


def test_it_is_a_plain_module_that_holds_its_members() -> None:
    models = networks(count=2)
    ensemble = onefold.Ensemble(models, mean="outputs")
    assert [id(m) for m in ensemble.members] == [id(m) for m in models]
    assert len(list(ensemble.parameters())) == 4
    ensemble(X).sum().backward()
    assert all(p.grad is not None for p in ensemble.parameters())
    twin = copy.deepcopy(ensemble)
    assert torch.equal(twin(X), ensemble(X))
    twin.load_state_dict(ensemble.state_dict())
    assert repr(ensemble) == "Ensemble(2 x Linear, mean='outputs')"
    assert repr(onefold.Ensemble(models, mean_pool([1, 1]))).endswith("mean='classes')")


MODELS = networks(count=2)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: Ensemble(MODELS, "logit"), SettingError, "did you mean 'logits'"),
        (lambda: Ensemble(MODELS, ["logits"]), SettingError, "mean as 'probabilities', 'logits'"),
        (lambda: Ensemble(MODELS, "classes"), SettingError, "onefold.class_pool"),
        (
            lambda: Ensemble(MODELS, mean_pool([1.0] * 3)),
            SettingError,
            "of 3 members but there are 2",
        ),
        (lambda: Ensemble([]), MembersError, "no network"),
        (lambda: Ensemble([MODELS[0], "b"]), MembersError, "Member 1 is the path"),
        (
            lambda: Ensemble([*MODELS, *networks(4, 1)], "outputs")(X),
            MembersError,
            "Member 2 returns an output of shape",
        ),
        (lambda: onefold.evaluate(MODELS, [], ensemble="mean"), SettingError, "by 'mean'"),
        (lambda: onefold.evaluate(MODELS, [], ensemble="classes"), SettingError, "class_pool"),
        (
            lambda: onefold.evaluate(MODELS, [], ensemble=mean_pool([1.0])),
            SettingError,
            "of 1 members but there are 2",
        ),
        (lambda: pooled("all", MODELS, [X]), SettingError, "by 'all'"),
        (lambda: LeastSquares(ensemble=3), SettingError, "not 3"),  # type: ignore[arg-type]
        (lambda: merge(MODELS, [X], fold="least_squares", ensemble=3), SettingError, "not 3"),
    ],
)
def test_wrong_ensembles(build: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        build()


def test_every_known_name_passes() -> None:
    for name in (*ENSEMBLE_MEANS, "classes", mean_pool([1.0])):
        check_ensemble(name)
    check_ensemble(mean_pool([1.0, 2.0]), ENSEMBLE_MEANS, 2)
    assert pooled("outputs", MODELS, [X]) == "outputs"
    assert isinstance(pooled("classes", networks(), [X.repeat(20, 1)]), ClassPool)


def test_the_mean_of_outputs_keeps_what_is_not_finite() -> None:
    rows = [torch.tensor([[1.0, 2.0], [torch.nan, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]])]
    found = mean_output(rows, "outputs")
    assert torch.equal(found[0], torch.tensor([2.0, 3.0]))
    assert torch.isnan(found[1, 0])
    assert found[1, 1] == 1.0


def test_regressors_are_folded_towards_their_mean_output() -> None:
    torch.manual_seed(0)
    pair = [nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2)]
    x = [torch.randn(64, 5)]
    settings: Any = {"align": "permutation", "repair": "none"}
    outputs = merge(pair, x, fold=LeastSquares(rows=64, ensemble="outputs"), **settings).model
    logits = merge(pair, x, fold=LeastSquares(rows=64), **settings).model
    assert torch.equal(outputs(x[0]), logits(x[0]))
