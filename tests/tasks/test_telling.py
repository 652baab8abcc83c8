"""Which task outputs and labels are of, row by row of the table; what fits two is refused."""

from __future__ import annotations

import pytest
import torch
from known_outputs import noise, whole
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.inference import ANY
from onefold.tasks.telling import tell_task

ONES = torch.ones(4, 3)
TOLD = [
    (noise(4, 3), whole(3, 4), "classification"),
    (noise(4, 3), noise(4, 3).softmax(-1), "classification"),
    (noise(4, 3), torch.eye(3)[whole(3, 4)], "classification"),
    (noise(4, 3), ONES, "multilabel"),
    (noise(4, 3), torch.zeros(4, 3).long(), "multilabel"),
    (noise(4, 3), torch.tensor([[1, 1, -1]] * 4), "multilabel"),
    (noise(4, 5, 3), whole(3, 4, 5), "token_classification"),
    (noise(4, 3, 5), whole(3, 4, 5), "token_classification"),
    (noise(4, 3, 5, 6), whole(3, 4, 5, 6), "segmentation"),
    (noise(4, 5, 6, 3), whole(3, 4, 5, 6), "segmentation"),
    (noise(4, 1), torch.tensor([0, 1, 1, 0]), "binary"),
    (noise(4), torch.tensor([0, 1, 1, 0]), "binary"),
    (noise(4, 1), torch.tensor([[False], [True], [True], [False]]), "binary"),
    (noise(2, 1, 4, 4), whole(2, 2, 4, 4), "binary"),
    (noise(4, 1), noise(4), "regression"),
    (noise(4, 2, 3), noise(4, 2, 3), "regression"),
    (noise(4, 1), torch.tensor([3, 1, 7, 0]), "regression"),
    (noise(4, 3), noise(4, 3), "regression"),
]


def told(outputs: Tensor, labels: Tensor) -> str:
    return tell_task(outputs, Batch((noise(len(outputs), 2),), {}, labels), ANY).name


@pytest.mark.parametrize("number", range(len(TOLD)))
def test_the_table(number: int) -> None:
    outputs, labels, task = TOLD[number]
    assert told(outputs, labels) == task


def test_labels_that_are_the_inputs_are_of_language_modeling() -> None:
    ids = whole(3, 4, 5)
    labels = ids.clone()
    labels[:, 3:] = -100
    for given in (ids, labels):
        assert tell_task(noise(4, 5, 3), Batch((ids,), {}, given), ANY).name == "language_modeling"
        named = Batch((), {"input_ids": ids}, given)
        assert tell_task(noise(4, 5, 3), named, ANY).name == "language_modeling"


REFUSED = [
    (noise(4, 1), torch.tensor([0.0, 1.0, 1.0, 0.0]), "task='binary'"),
    (noise(4, 1), torch.tensor([0, 1, -1, 0]), "task='binary'"),
    (noise(4, 3), torch.zeros(4, 3), "task='multilabel'"),
    (noise(4, 3), torch.tensor([[0.0, 1.0, -1.0]] * 4), "task='multilabel'"),
    (noise(4, 3), noise(4), "convert class numbers with"),
    (noise(4, 3), whole(3, 4, 2), "no task that is known"),
    (whole(3, 4, 3), whole(3, 4), "floating-point"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_fits_two_or_none_is_refused(number: int) -> None:
    outputs, labels, said = REFUSED[number]
    with pytest.raises(DataError) as caught:
        told(outputs, labels)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")
