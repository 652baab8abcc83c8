"""Counts class by class, and the agreement of two networks, from one pass over the data."""

from __future__ import annotations

import json
import math

import pytest
import torch

from onefold.measure import score_logits
from onefold.tasks import Bins, Rows
from onefold.tasks.answers import agreement_of
from onefold.tasks.class_tally import ClassTally
from onefold.tasks.classes import CONFUSED


def test_counts_are_those_of_a_loop_whatever_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(101, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (101,), generator=generator)  # no example of class 3
    logits[7] = math.nan
    tally = ClassTally(Bins())
    for part in torch.arange(101).split(17):
        tally.add(Rows(logits[part], labels[part]))
    counts = tally.counted("accuracy").classes
    assert counts is not None
    given = logits.argmax(-1)
    matrix = [[0] * 4 for _ in range(4)]
    for k in range(101):
        if k != 7:
            matrix[int(labels[k])][int(given[k])] += 1
    assert counts.confusion is not None
    assert counts.confusion.tolist() == matrix
    assert counts.examples.tolist() == torch.bincount(labels, minlength=4).tolist()
    assert counts.right.tolist() == [matrix[c][c] for c in range(4)]
    assert counts.seen == [0, 1, 2]
    assert counts.accuracy(1) == matrix[1][1] / int((labels == 1).sum())
    assert math.isnan(counts.accuracy(3))
    assert json.loads(json.dumps(counts.to_dict()))["confusion"] == matrix
    assert repr(counts) == "ClassCounts(4 classes, 101 examples)"
    scores = score_logits(logits, labels)
    assert "classes" not in scores.to_dict()
    assert scores == type(scores).from_dict(scores.to_dict())


def test_many_classes_have_counts_and_no_matrix() -> None:
    classes = CONFUSED + 1
    counts = score_logits(torch.eye(classes).double(), torch.arange(classes)).classes
    assert counts is not None
    assert counts.confusion is None
    assert int(counts.right.sum()) == classes


@pytest.mark.parametrize("classes", [3, 40_000])
def test_agreement_counts_equal_answers_and_no_broken_ones(classes: int) -> None:
    labels = torch.zeros(4, dtype=torch.long)
    first = torch.zeros(4, classes, dtype=torch.float64)
    first[:, classes - 1] = 1.0
    second = first.clone()
    second[0, 0] = 2.0
    second[1] = first[1] = math.nan
    one, two = score_logits(first, labels), score_logits(second, labels)
    assert agreement_of(one.answers, two.answers) == 0.5
    assert agreement_of(one.answers, None) is None
    other = score_logits(first[:3], labels[:3])
    assert agreement_of(one.answers, other.answers) is None
