"""The scores of every task against scikit-learn, torchmetrics and loops by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from known_outputs import MADE, Known, noise, scores_of, whole
from sklearn import metrics as reference
from torch import nn

from onefold.errors import DataError, OnefoldError
from onefold.measure import Scores, evaluate

NOTHING = "There is no example to score"


def test_numbers_equal_scikit_learn() -> None:
    outputs, labels = noise(50, 3), noise(50, 3, seed=1) + torch.tensor([0.0, 5.0, 1e6])
    outputs = outputs + labels
    found = scores_of(outputs, labels, "regression")
    assert found.task == "regression"
    assert found.by == "rmse"
    assert found["mse"] == pytest.approx(reference.mean_squared_error(labels, outputs))
    assert found["rmse"] == pytest.approx(reference.mean_squared_error(labels, outputs) ** 0.5)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(labels, outputs))
    r2 = reference.r2_score(labels, outputs, multioutput="variance_weighted")
    assert found["r2"] == pytest.approx(r2, rel=1e-6)


def test_r2_of_large_labels_keeps_its_digits() -> None:
    labels = 1.7e9 + noise(200, 1)
    outputs = labels + 0.1 * noise(200, 1, seed=1)
    found = scores_of(outputs, labels, "regression", size=32)
    exact = 1 - float((outputs - labels).square().sum() / (labels - labels.mean()).square().sum())
    assert found["r2"] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e8])
def test_labels_that_do_not_vary_have_no_r2(value: float) -> None:
    labels = torch.full((30, 1), value, dtype=torch.float64)
    for outputs in (labels, labels + noise(30, 1)):
        found = scores_of(outputs, labels, "regression", size=7, by="r2")
        assert math.isnan(found["r2"])
        assert math.isnan(found.error)
        assert math.isfinite(found["rmse"])
    small = 1e-15 * noise(30, 1)
    assert scores_of(small, small, "regression")["r2"] == 1.0


def test_numbers_that_are_missing_do_not_count() -> None:
    outputs, labels = noise(20, 2), noise(20, 2, seed=1)
    labels[3, 1] = labels[7] = torch.nan
    known = ~labels.isnan()
    found = scores_of(outputs, labels, "regression", size=6)
    gap = (outputs - labels)[known]
    assert found.n == 19
    assert found.ignored == 3
    assert found["mse"] == pytest.approx(float(gap.square().mean()))
    assert found["mae"] == pytest.approx(float(gap.abs().mean()))
    left = sum(
        float((own - own.mean()).square().sum())
        for own in (labels[known[:, column], column] for column in range(2))
    )
    assert found["r2"] == pytest.approx(1 - float(gap.square().sum()) / left)


def test_series_of_unequal_length_are_numbers_too() -> None:
    data = [(noise(4, t, seed=t), noise(4, t, seed=50 + t) + 9.0) for t in (3, 5, 5, 2)]
    found = evaluate(Known(), data, task="regression", by="r2")
    outputs = torch.cat([x.flatten() for x, _ in data])
    labels = torch.cat([y.flatten() for _, y in data])
    assert found["r2"] == pytest.approx(reference.r2_score(labels, outputs))
    assert found["rmse"] == pytest.approx(float((outputs - labels).square().mean().sqrt()))
    assert found.n == 16
    assert math.isnan(found.error)


def test_yes_or_no_equals_scikit_learn() -> None:
    outputs, labels = noise(80, 1), whole(2, 80)
    p, yes = outputs.sigmoid()[:, 0].numpy(), labels.numpy()
    found = scores_of(outputs, labels, "binary")
    assert found.accuracy == pytest.approx(reference.accuracy_score(yes, p > 0.5))
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(yes, p))
    assert found.nll == pytest.approx(reference.log_loss(yes, p))
    assert found.brier == pytest.approx(2 * reference.brier_score_loss(yes, p))
    two = torch.cat([torch.zeros_like(outputs), outputs], 1)  # the same by two classes
    same = scores_of(two, labels, "classification")
    for name in ("accuracy", "nll", "brier", "ece"):
        assert found[name] == pytest.approx(same[name]), name
    for kind in (torch.float32, torch.uint8, torch.bool):
        assert scores_of(outputs, labels.to(kind).unsqueeze(1), "binary").values == found.values


def test_ties_of_a_ranking_equal_scikit_learn() -> None:
    outputs, labels = whole(4, 60, 1).double() - 1.5, whole(2, 60, 1, seed=3)
    found = scores_of(outputs, labels, "binary")
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(labels[:, 0], outputs[:, 0]))
    several = whole(4, 60, 3).double() - 1.5
    many = whole(2, 60, 3, seed=4)
    mean = reference.average_precision_score(many, several, average="macro")
    assert scores_of(several, many, "multilabel").primary == pytest.approx(mean)


def test_several_labels_equal_scikit_learn() -> None:
    outputs, labels = noise(60, 4), whole(2, 60, 4)
    p = outputs.sigmoid()
    found = scores_of(outputs, labels, "multilabel")
    ap = reference.average_precision_score(labels, p, average="macro")
    assert found["mean_average_precision"] == pytest.approx(ap)
    assert found["f1"] == pytest.approx(reference.f1_score(labels, p > 0.5, average="micro"))
    assert found.nll == pytest.approx(
        np.mean([reference.log_loss(labels[:, k], p[:, k]) for k in range(4)])
    )


def test_labels_that_nobody_said_do_not_count_among_several() -> None:
    outputs, labels = noise(40, 3), whole(2, 40, 3).double()
    labels[::5, 1] = torch.nan
    labels[3] = -1.0
    found = scores_of(outputs, labels, "multilabel", size=9)
    assert found.n == 39
    assert found.ignored == 8 + 3
    kept = (labels >= 0).numpy()
    p, yes = outputs.sigmoid().numpy(), labels.numpy()
    parts = [
        reference.average_precision_score(yes[kept[:, k], k], p[kept[:, k], k]) for k in range(3)
    ]
    assert found.primary == pytest.approx(np.mean(parts))
    assert found["f1"] == pytest.approx(reference.f1_score(yes[kept], p[kept] > 0.5))
    with pytest.raises(DataError, match=NOTHING):
        scores_of(outputs, torch.full_like(labels, torch.nan), "multilabel")


@pytest.mark.parametrize("last", [False, True])
def test_pixels_by_hand(last: bool) -> None:
    outputs, labels = noise(5, 3, 4, 6), whole(3, 5, 4, 6)
    labels[:, 0, :2], labels[1] = 255, -100
    found = scores_of(outputs.movedim(1, -1) if last else outputs, labels, "segmentation", size=2)
    kept = (labels != 255) & (labels >= 0)
    said, own = outputs.argmax(1)[kept], labels[kept]
    assert found.n == 4
    assert found.ignored == int((~kept).sum())
    iou = reference.jaccard_score(own, said, average="macro")
    assert found["mean_iou"] == pytest.approx(iou)
    assert found.accuracy == pytest.approx(reference.accuracy_score(own, said))
    p = outputs.softmax(1).movedim(1, -1)[kept]
    assert found.nll == pytest.approx(reference.log_loss(own, p, labels=range(3)))


def test_a_class_that_nobody_has_or_says_is_no_part_of_mean_iou() -> None:
    outputs = noise(3, 4, 5, 5)
    outputs[:, 3] = -9.0
    labels = whole(3, 3, 5, 5)
    iou = reference.jaccard_score(labels.flatten(), outputs.argmax(1).flatten(), average="macro")
    assert scores_of(outputs, labels, "segmentation").primary == pytest.approx(iou)


def test_tokens_by_hand() -> None:
    outputs, labels = noise(6, 5, 3), whole(3, 6, 5)
    labels[:, 3:][::2] = -100
    found = scores_of(outputs, labels, "token_classification", size=4)
    kept = labels >= 0
    assert found.n == 6
    assert found.accuracy == pytest.approx(
        float((outputs.argmax(-1) == labels)[kept].float().mean())
    )
    nll = nn.functional.cross_entropy(outputs[kept], labels[kept])
    assert found.nll == pytest.approx(float(nll))


def test_language_modeling_equals_the_loss_of_gpt2() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=23, n_positions=12, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = whole(23, 6, 9)
    mask = torch.ones_like(ids)
    mask[1, 4:] = mask[4, 7:] = 0  # padding at the end
    mask[2, :3] = 0  # and at the beginning
    padded = ids.masked_fill(mask == 0, -100)
    expected = float(model(input_ids=ids, attention_mask=mask, labels=padded).loss)
    whole_batch = {"input_ids": ids, "attention_mask": mask}
    for labels in (ids, padded):
        found = evaluate(model, [{**whole_batch, "labels": labels}])
        assert found.task == "language_modeling"
        assert found.nll == pytest.approx(expected, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    plain = float(model(input_ids=ids, labels=ids).loss)
    two = [{"input_ids": part, "labels": part} for part in ids.split(4)]
    assert evaluate(model, two).nll == pytest.approx(plain, rel=1e-5)


def test_soft_and_one_hot_labels() -> None:
    outputs, labels = noise(30, 4), whole(4, 30)
    one_hot = nn.functional.one_hot(labels, 4)
    hard = scores_of(outputs, labels, "classification")
    for kind in (torch.int64, torch.float32, torch.bool):
        found = scores_of(outputs, one_hot.to(kind), "classification")
        assert found.values == pytest.approx(hard.values)
    soft = noise(30, 4, seed=8).softmax(-1)
    found = scores_of(outputs, soft, "classification", size=7)
    assert found.nll == pytest.approx(float(nn.functional.cross_entropy(outputs, soft)))
    brier = (outputs.softmax(-1) - soft).square().sum(-1).mean()
    assert found.brier == pytest.approx(float(brier))
    assert found.accuracy == pytest.approx(
        float((outputs.argmax(-1) == soft.argmax(-1)).double().mean())
    )


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("size", [1, 7, 39])
def test_the_cut_into_batches_does_not_matter(task: str, size: int) -> None:
    outputs, labels = MADE[task]
    whole_set, cut = (scores_of(outputs, labels, task, size=each) for each in (0, size))
    assert cut.values == pytest.approx(whole_set.values)
    assert cut.error == pytest.approx(whole_set.error)
    assert cut.n == whole_set.n
    assert cut.answers is not None
    assert whole_set.answers is not None
    assert cut.answers.labels == whole_set.answers.labels


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_wrong(task: str, value: float) -> None:
    outputs, labels = (part.clone() for part in MADE[task])
    outputs[:] = value
    found = scores_of(outputs, labels, task)
    assert found.nonfinite == found.n == 40
    assert found.loss == math.inf
    worst = {"rmse": math.inf, "perplexity": math.inf, "accuracy": 0.0, "mean_iou": 0.0}
    for name in ("rmse", "perplexity", "accuracy", "mean_iou", "f1", "auroc"):
        if name in found.values:
            assert found[name] == worst.get(name, 0.0), name


@pytest.mark.parametrize("task", MADE)
def test_one_broken_example_is_no_better_than_a_wrong_one(task: str) -> None:
    outputs, labels = (part.clone() for part in MADE[task])
    before = scores_of(outputs, labels, task)
    outputs[5] = math.nan
    found = scores_of(outputs, labels, task)
    assert found.nonfinite == 1
    assert found.loss == math.inf
    assert found.kind.better(found.primary) <= before.kind.better(before.primary)


@pytest.mark.parametrize("answer", [0, 1])
def test_broken_outputs_do_not_rank_well(answer: int) -> None:
    labels = (torch.arange(10) % 2).long()
    perfect = torch.where(labels == 1, 2.0, -2.0)
    perfect[labels == answer] = math.nan
    assert scores_of(perfect.unsqueeze(1), labels, "binary")["auroc"] == 0.0
    both = torch.stack([perfect, perfect], 1)
    found = scores_of(both, torch.stack([labels, labels], 1), "multilabel")
    assert found["mean_average_precision"] < 0.6
    assert found["f1"] < 0.7


def test_broken_outputs_beside_labels_that_nobody_said_do_no_harm() -> None:
    outputs, labels = noise(20, 3), whole(2, 20, 3).double()
    outputs[2, 1], labels[2, 1] = math.nan, math.nan
    found = scores_of(outputs, labels, "multilabel")
    assert found.nonfinite == 0
    assert math.isfinite(found.loss)
    outputs, labels = noise(20, 2), noise(20, 2, seed=4)
    outputs[2, 1], labels[2, 1] = math.nan, math.nan
    found = scores_of(outputs, labels, "regression")
    assert found.nonfinite == 0
    assert math.isfinite(found.loss)


def test_positions_are_no_examples_even_where_there_are_as_many() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    labels = torch.tensor([[-1, -1], [1, 1]])  # two positions are known, of one example
    found = scores_of(outputs, labels, "binary")
    assert found.n == 1
    assert found.accuracy == 0.5
    assert found.answers is not None
    assert len(found.answers.hits) == 1


BAD = {
    "classification": [
        (noise(4, 3), whole(3, 4) + 1, "range from"),
        (noise(4, 3), noise(4), "class numbers"),
        (noise(4, 3), whole(3, 4, 2), "shape"),
        (noise(4, 3), torch.full((4, 3), 0.5), "sum to 1"),
        (noise(4), whole(2, 4), "two classes"),
    ],
    "binary": [
        (noise(4, 1), torch.tensor([0, 1, 2, 1]), "labels of yes or no are 0 and 1"),
        (noise(4, 1), torch.tensor([0, 0.5, 1, 1]), "labels of yes or no are 0 and 1"),
        (noise(4, 1), whole(2, 4, 3), "one logit for each"),
        (noise(4, 3), whole(2, 4), "several numbers for each example"),
    ],
    "multilabel": [
        (noise(4, 3), whole(2, 4), "give 0 or 1 for each"),
        (noise(4, 3), whole(3, 4, 3) + 1, "labels of yes or no are 0 and 1"),
        (noise(4), whole(2, 4), "needs a logit for each"),
    ],
    "regression": [
        (noise(4, 3), noise(4, 2), "give as many labels"),
        (noise(4, 2, 3), noise(4, 3, 2), "in that shape"),
        (noise(4, 1), torch.tensor([0.0, math.inf, 1.0, 2.0]), "example 1 of batch 0 is infinite"),
        (noise(4, 1), noise(4).to(torch.complex64), "labels"),
    ],
    "segmentation": [
        (noise(2, 3, 4, 4), whole(3, 2, 5, 4), "shape"),
        (noise(2, 3, 4, 4), whole(3, 2, 4, 4) + 3, "range from"),
        (noise(2, 3, 4, 4), noise(2, 4, 4), "class numbers"),
    ],
    "token_classification": [
        (noise(2, 5, 3), whole(3, 2, 4), "shape"),
        (noise(2, 5, 3), whole(3, 2, 5) + 3, "range from"),
    ],
    "language_modeling": [
        (noise(2, 5, 3), whole(3, 2, 4), "the tokens"),
        (noise(2, 5, 3), whole(3, 2), "the tokens"),
        (noise(2, 5, 3), whole(3, 2, 5) + 3, "range from"),
    ],
}


@pytest.mark.parametrize(
    ("task", "number"), [(task, k) for task, cases in BAD.items() for k in range(len(cases))]
)
def test_labels_that_do_not_fit_are_one_sentence(task: str, number: int) -> None:
    outputs, labels, said = BAD[task][number]
    with pytest.raises(OnefoldError) as caught:
        scores_of(outputs, labels, task)
    text = str(caught.value)
    assert said in text
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize("task", MADE)
def test_nothing_to_score_is_said(task: str) -> None:
    outputs, labels = MADE[task]
    with pytest.raises(DataError):
        evaluate(Known(), [], task=task)
    nothing = torch.full_like(labels, math.nan if labels.is_floating_point() else -100)
    with pytest.raises(DataError, match=NOTHING):
        scores_of(outputs, nothing, task)
    mixed = [(outputs, nothing), (outputs, labels)]
    found = evaluate(Known(), mixed, task=task)
    assert found.values == pytest.approx(scores_of(outputs, labels, task).values)


@pytest.mark.parametrize("task", MADE)
def test_scores_come_back_from_json(task: str) -> None:
    found = scores_of(*MADE[task], task)
    assert Scores.from_dict(found.to_dict()) == found
