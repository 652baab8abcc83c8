"""Folds, gates, distillation and ensembles read the output that is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from output_networks import Segmenter, made, pictures, plain
from torch import Tensor, nn
from torch.nn import functional

import onefold
from onefold.batches import batches
from onefold.ensemble.ensemble import Ensemble
from onefold.errors import DataError, OnefoldError, SettingError
from onefold.explore.persistent.functional import predict
from onefold.fold import Auto, LeastSquares, Polish, polish
from onefold.fold.soft.mixture import Mixture
from onefold.fold.soft.saved import describe, rebuild
from onefold.inference import Output
from onefold.measure import agreement, evaluate, evaluate_all, triangle


class Several(nn.Module):
    """A body and a head; `form` says in what they are returned."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.form = nn.Linear(10, 16), nn.Linear(16, 3), form

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.body(x))
        return self.form(hidden, self.head(hidden))


def vectors(batches: int = 3, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, 10, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(batches)
    ]


FORMS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Any]] = {
    "tuple": (lambda h, z: (h, z), 1),
    "dict": (lambda h, z: {"features": h, "cls": z}, "cls"),
    "pyramid": (lambda h, z: ([h, h + 1], z), lambda own: own[1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_barriers_and_comparisons_are_of_what_is_said(form: str) -> None:
    build, output = FORMS[form]
    data, pair = vectors(), made(lambda: Several(build))
    bare = made(lambda: Several(lambda h, z: z))
    assert evaluate(pair[0], data, output=output) == evaluate(bare[0], data)
    assert evaluate_all(pair, data, output=output).ensemble == evaluate(bare, data)
    assert torch.equal(agreement(pair, data, output=output), agreement(bare, data))
    assert (
        onefold.barrier(*pair, data, points=3, output=output).barrier
        == onefold.barrier(*bare, data, points=3).barrier
    )
    assert triangle(*pair, pair[0], data, resolution=1, output=output) == triangle(
        *bare, bare[0], data, resolution=1
    )
    found = onefold.measure_pairs(pair, data, align=False, points=3, output=output)
    assert torch.equal(
        found.plain.disagreement,
        onefold.measure_pairs(bare, data, align=False, points=3).plain.disagreement,
    )
    calls: list[Callable[[], object]] = [
        lambda: evaluate(pair[0], data),
        lambda: agreement(pair, data),
        lambda: onefold.barrier(*pair, data, points=3),
        lambda: polish(pair[0], pair, data, 1),
        lambda: onefold.class_pool(pair, [x for x, _ in data]),
        lambda: onefold.merge(pair, data, align="none", repair="none", fold="greedy_soup"),
        lambda: onefold.merge(pair, data, align="none", repair="none", polish=1, fold="average"),
        lambda: onefold.SoftMerge(pair, "model", data=data),
        lambda: Ensemble(pair)(data[0][0]),
        lambda: onefold.PersistentTraining(pair[0], 5, kernel="function", reference=data[0]),
    ]
    for call in calls:
        with pytest.raises(DataError, match="returns several outputs"):
            call()


SUMMARIES: dict[
    str, tuple[Callable[[Tensor, Tensor], Any], Any]
] = {  # what else is returned leaves the hidden units free
    "dict": (lambda h, z: {"mean": h.mean(1), "cls": z}, "cls")
}


@pytest.mark.slow
@pytest.mark.parametrize("form", SUMMARIES)
def test_folds_of_several_outputs_need_one_only_where_they_score(form: str) -> None:
    build, output = SUMMARIES[form]
    data, pair = vectors(6, 32), made(lambda: Several(build))
    bare = made(lambda: Several(lambda h, z: z))
    merged = onefold.merge(
        pair, data, align="permutation", fold="average"
    ).model  # nothing is scored, and nothing need be said
    twin = onefold.merge(bare, data, align="permutation", fold="average").model
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name])
    for fold in ("greedy_soup", LeastSquares(rows=64, ensemble="probabilities")):
        first = onefold.merge(pair, data, align="permutation", fold=fold, output=output)
        second = onefold.merge(bare, data, align="permutation", fold=fold)
        for name, value in first.model.state_dict().items():
            torch.testing.assert_close(
                value, second.model.state_dict()[name], msg=f"{fold}: {name}"
            )
        assert not any("no layer that is solved puts out" in note for note in first.report.warnings)
    first, second = (
        polish(own[0], own, data, 2, output=how) for own, how in ((pair, output), (bare, None))
    )
    assert first.divergence == second.divergence
    seen = [
        onefold.class_pool(own, data, output=how).seen
        for own, how in ((pair, output), (bare, None))
    ]
    torch.testing.assert_close(*seen)
    with pytest.raises(DataError, match=r"no output (named 'nothing'|7)"):
        onefold.merge(
            pair, data, align="none", output="nothing" if form == "dict" else 7, fold="average"
        )


def test_sensitivity_counts_every_output_where_none_is_said() -> None:
    """What the second head reads must stay, too: with the first head alone its units would be worth
    nothing.
    """

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.one, self.two = nn.Linear(10, 8), nn.Linear(8, 2), nn.Linear(8, 2)
            with torch.no_grad():
                self.one.weight[:, 4:] = 0
                self.two.weight[:, :4] = 0

        def forward(self, x: Tensor) -> Any:
            h = torch.relu(self.body(x))
            return self.one(h), self.two(h)

    pair = made(TwoHeads)
    found = onefold.merge(
        [pair[0], pair[0]], vectors(6, 32), fold=LeastSquares(rows=128), align="permutation"
    ).model
    x = vectors()[0][0]
    for own, wanted in zip(found(x), pair[0](x), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("level", ["model", "module", "layer"])
def test_gates_are_learned_from_the_output_that_is_said(level: str) -> None:
    data = vectors(8, 32)
    teacher = nn.Linear(10, 3)
    data = [(x, teacher(x).argmax(1)) for x, _ in data]
    pair = made(lambda: Several(lambda h, z: {"features": h, "cls": z}))
    bare = made(lambda: Several(lambda h, z: z))
    results = []
    for own, output in ((pair, "cls"), (bare, None)):
        soft = onefold.SoftMerge(
            own, level=level, align="none", screen=False, output=output, outputs="probabilities"
        )
        results.append(onefold.fit_gates(soft, data, steps=8, fallback=False))
    assert results[0].losses == pytest.approx(results[1].losses, rel=1e-5)
    torch.testing.assert_close(results[0].gates.values, results[1].gates.values)
    assert evaluate(results[0].model, data, output="cls").nll == pytest.approx(
        evaluate(results[1].model, data).nll, rel=1e-5
    )


def test_gates_of_segmentation_networks(tmp_path: Path) -> None:
    pair, data = made(Segmenter), pictures()
    soft = onefold.SoftMerge(pair, "model", screen=False, outputs="probabilities", data=data)
    result = onefold.fit_gates(soft, data, steps=5, fallback=False)
    mixture = Mixture(pair, torch.tensor([0.5, 0.5]), outputs="probabilities", output=soft.output)
    x = data[0][0]
    with torch.no_grad():
        wanted = torch.stack([member(x).softmax(1) for member in pair]).mean(0).log()
        torch.testing.assert_close(mixture(x), wanted)
        assert result.model(x).shape == (8, 4, 6, 7)
    again = rebuild(Segmenter, describe(mixture), "a file")
    again.load_state_dict(mixture.state_dict())
    torch.testing.assert_close(again(x), mixture(x))
    with pytest.raises(DataError, match="nothing says on which axis"):
        Mixture(pair, torch.tensor([0.5, 0.5]), outputs="probabilities")(x)
    with pytest.raises(SettingError, match="cannot be written to a file"):
        describe(Mixture(pair, torch.ones(2), outputs="logits", output=Output(lambda y: y)))


def test_a_mixture_of_dict_networks_answers_for_its_output_and_is_kept_in_files() -> None:
    pair = made(lambda: Several(lambda h, z: {"features": h, "cls": z}))
    mixture = Mixture(pair, torch.tensor([0.3, 0.7]), outputs="logits", output=Output("cls"))
    again = rebuild(
        lambda: Several(lambda h, z: {"features": h, "cls": z}), describe(mixture), "a file"
    )
    again.load_state_dict(mixture.state_dict())
    data = vectors()
    assert (
        evaluate(again, data, output="cls")
        == evaluate(mixture, data, output="cls")
        == evaluate(mixture, data)
    )
    torch.testing.assert_close(
        again(data[0][0]), 0.3 * pair[0](data[0][0])["cls"] + 0.7 * pair[1](data[0][0])["cls"]
    )


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_segmentation_is_distilled_over_the_classes_of_each_pixel(labels: bool, last: bool) -> None:
    pair = made(lambda: Segmenter(last=last))
    axis, data = 3 if last else 1, pictures(labels)
    output = None if labels else Output(class_axis=axis)
    found = polish(pair[0], pair, data, Polish(passes=1, lr=1e-12), output=output).divergence[0]
    x = torch.cat([item[0] if labels else item for item in data])
    with torch.no_grad():
        aim = ((pair[0](x) + pair[1](x)) / 2).log_softmax(axis)
        wanted = (
            functional.kl_div(pair[0](x).log_softmax(axis), aim, log_target=True, reduction="sum")
            / aim.select(axis, 0).numel()
        )
    assert found == pytest.approx(float(wanted), rel=1e-4)
    pool = onefold.class_pool(pair, data, output=output)
    assert pool.seen.shape == (2, 4)
    if not labels:
        for call in (
            lambda: polish(pair[0], pair, data, 1),
            lambda: onefold.class_pool(pair, data),
            lambda: agreement(pair, data),
        ):
            with pytest.raises(DataError, match=r"on which axis the classes lie.*class_axis="):
                call()


def test_least_squares_aims_at_probabilities_of_each_pixel() -> None:
    pair, data = made(Segmenter), pictures()
    found = onefold.merge(
        pair,
        data,
        align="permutation",
        fold=LeastSquares(rows=500, ensemble="probabilities", target="correlation"),
    )
    assert not any("no layer that is solved puts out" in note for note in found.report.warnings)
    x = torch.cat([item[0] for item in data])
    with torch.no_grad():
        aim = torch.stack([member(x).softmax(1) for member in pair]).mean(0).log()
        rest = onefold.merge(
            pair, data, align="permutation", fold=LeastSquares(rows=500, target="correlation")
        ).model(x)
        far = [
            float(functional.kl_div(own.log_softmax(1), aim, log_target=True, reduction="sum"))
            for own in (found.model(x), rest)
        ]
    assert far[0] < far[1]
    auto = onefold.merge(pair, data, align="permutation", fold=Auto(rows=200))
    assert "choice" in auto.report.folded
    with pytest.raises(DataError, match="on which axis"):
        onefold.merge(
            pair,
            pictures(False),
            align="permutation",
            fold=LeastSquares(rows=50, ensemble="probabilities"),
        )


def test_what_has_no_classes_is_distilled_as_labels_or_a_name_say() -> None:
    regressors = made(lambda: nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1)))
    x = [x for x, _ in vectors()]
    plain: dict[str, Any] = {"align": "none", "repair": "none", "polish": 2, "fold": "average"}
    with pytest.raises(DataError, match="needs two classes or more"):
        onefold.merge(regressors, x, **plain)
    named = onefold.merge(regressors, x, task="regression", **plain)
    told = onefold.merge(regressors, [(own, torch.randn(16, 1)) for own in x], **plain)
    for result in (named, told):
        assert result.report.polished["task"] == "regression"
    with pytest.raises(DataError, match="needs two classes or more"):
        onefold.merge(
            regressors, x, align="permutation", fold=LeastSquares(rows=50, ensemble="probabilities")
        )
    onefold.merge(
        regressors, x, align="permutation", fold=LeastSquares(rows=50)
    )  # a mean of outputs is fine
    several = made(lambda: nn.Linear(10, 3))
    targets = [(own, torch.randn(16, 3)) for own in x]
    assert polish(several[0], several, targets, 1).task == "regression"
    soft_labels = [(own, torch.randn(16, 3).softmax(1)) for own in x]
    assert polish(several[0], several, soft_labels, 1).divergence[0] > 0
    assert (
        polish(several[0], several, targets, 1, output=Output(class_axis=1)).divergence[0] > 0
    )  # said is said


def test_partial_merges_and_ensembles_mix_probabilities_over_the_classes() -> None:
    pair, data = made(Segmenter), pictures()
    found = onefold.partial_merge(
        pair, data, until="layers.0", align="identity", repair="none", outputs="probabilities"
    ).model
    x = data[0][0]
    with torch.no_grad():
        torch.testing.assert_close(found(x).exp().sum(1), torch.ones(8, 6, 7))
        assert found(x).shape == (8, 4, 6, 7)
        wanted = torch.stack([member(x).softmax(1) for member in pair]).mean(0).log()
        torch.testing.assert_close(Ensemble(pair, output=Output(class_axis=1))(x), wanted)
        torch.testing.assert_close(
            Ensemble(pair, "logits")(x), (pair[0](x) + pair[1](x)) / 2
        )  # needs no axis
    with pytest.raises(DataError, match="on which axis"):
        Ensemble(pair)(x)
    with pytest.raises(DataError, match="on which axis"):
        onefold.partial_merge(
            pair, pictures(False), until="layers.0", align="identity", outputs="probabilities"
        )
    parted = made(lambda: Several(lambda h, z: (h, z)))
    both = onefold.partial_merge(
        parted,
        vectors(),
        until="body",
        align="identity",
        repair="none",
        outputs="probabilities",
        output=1,
    ).model
    assert both(vectors()[0][0]).shape == (16, 3)
    assert evaluate(both, vectors(), output=1).n == 48


def test_predictions_that_repel_are_probabilities_of_each_pixel() -> None:
    network = made(Segmenter)[0]
    first = next(batches(pictures()))
    torch.testing.assert_close(predict(network, first).sum(1), torch.ones(8, 6, 7))
    with pytest.raises(DataError, match="on which axis"):
        predict(network, next(batches(pictures(False))))
    pair, data = made(lambda: Several(lambda h, z: (h, z))), vectors()
    run = onefold.PersistentTraining(pair[0], 5, kernel="function", reference=data[0], output=1)
    run.record(0.5)
    assert run.ensemble()(data[0][0]).shape == (16, 3)


def test_text_tagged_with_paddings_of_several_lengths() -> None:
    network = made(lambda: nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 5)))[0]
    data = [
        (torch.randint(20, (4, t)), torch.randint(5, (4, t))) for t in (7, 5, 9)
    ]  # the second has as many tokens as tags
    expected = plain(network, data, lambda y: y.transpose(1, 2))
    assert evaluate(network, data).accuracy == pytest.approx(expected)
    assert issubclass(DataError, OnefoldError)
