"""Which output of a network is meant, and on which axis its classes lie."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from output_networks import Segmenter, made, pictures, plain
from torch import Tensor, nn

from onefold.errors import DataError, SettingError
from onefold.inference import (
    ANY,
    ClassAxis,
    Output,
    as_output,
    class_axes,
    floating_outputs,
    predictions,
)
from onefold.measure import evaluate, reliability, score_logits

FEATURES, LOGITS = torch.zeros(6, 16), torch.ones(6, 3)
Pair = namedtuple("Pair", ["embedding", "cls"])
Inception = namedtuple("Inception", ["logits", "aux_logits"])


@pytest.mark.parametrize(
    "returned",
    [
        LOGITS,
        (LOGITS,),
        [LOGITS],
        {"cls": LOGITS},
        {"logits": LOGITS, "hidden_states": (FEATURES, FEATURES), "loss": torch.tensor(1.0)},
        SimpleNamespace(logits=LOGITS, hidden=FEATURES),
        Inception(LOGITS, FEATURES),
        {"out": LOGITS, "aux": FEATURES},
        (torch.tensor(0.5), LOGITS),
        (LOGITS, None),
        (LOGITS, torch.zeros(6, dtype=torch.long)),
        {"cls": LOGITS, "same": LOGITS},
    ],
    ids=[
        "tensor",
        "tuple",
        "list",
        "dict",
        "model output",
        "object",
        "named logits",
        "out and aux",
        "loss",
        "none",
        "ids",
        "twice",
    ],
)
def test_what_can_be_known_needs_no_saying(returned: Any) -> None:
    assert ANY.of(returned) is LOGITS


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        ((FEATURES, LOGITS), r"\[0\] \(6, 16\), \[1\] \(6, 3\)"),
        ({"features": FEATURES, "cls": LOGITS}, r"features \(6, 16\), cls \(6, 3\)"),
        (
            (LOGITS, (FEATURES, FEATURES + 1)),
            r"\[1\]\[0\] \(6, 16\), \[1\]\[1\]",
        ),  # an LSTM's states
        (Pair(FEATURES, LOGITS), r"embedding \(6, 16\), cls"),
        ({"out": LOGITS, "features": FEATURES}, "out"),
        ([FEATURES + k for k in range(9)], "and 3 more"),  # levels of a pyramid
        (SimpleNamespace(last_hidden_state=FEATURES, pooler_output=LOGITS), "pooler_output"),
    ],
)
def test_what_cannot_be_known_is_refused_with_what_there_is(returned: Any, named: str) -> None:
    with pytest.raises(DataError, match=rf"returns several outputs, .*{named}.*output="):
        ANY.of(returned)


def test_a_name_an_index_or_a_function_decides() -> None:
    for returned in (
        (FEATURES, LOGITS),
        [FEATURES, LOGITS],
        Pair(FEATURES, LOGITS),
        {"features": FEATURES, "cls": LOGITS},
    ):
        assert as_output(1).of(returned) is LOGITS
        assert as_output(-2).of(returned) is FEATURES
        assert (
            as_output(lambda own: list(own.values())[1] if isinstance(own, dict) else own[1]).of(
                returned
            )
            is LOGITS
        )
    assert as_output("cls").of(Pair(FEATURES, LOGITS)) is LOGITS
    assert as_output("cls").of({"features": FEATURES, "cls": LOGITS}) is LOGITS
    assert (
        as_output("features").of({"logits": LOGITS, "features": FEATURES}) is FEATURES
    )  # what is said wins
    for output, message in (
        ("clss", "did you mean 'cls'"),
        (5, r"no output 5; it returns features \(6, 16\), cls"),
        (lambda own: own, "the function `output` gives is a dict"),
        ("n", "is a int64"),
    ):
        with pytest.raises(DataError, match=message):
            as_output(output).of(
                {"features": FEATURES, "cls": LOGITS, "n": torch.zeros(2, dtype=torch.long)}
            )  # type: ignore[arg-type]
    with pytest.raises(DataError, match="it returns one tensor"):
        as_output(1).of(LOGITS)
    with pytest.raises(DataError, match="without a floating-point tensor"):
        ANY.of({"ids": torch.zeros(3, dtype=torch.long)})
    for wrong in (True, 1.5):
        with pytest.raises(SettingError, match="a name, an index or a function"):
            as_output(wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="axis of the examples"):
        Output(class_axis=0)
    assert floating_outputs((FEATURES, LOGITS)) == [FEATURES, LOGITS]


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((5, 3), (5,), [1]),
        ((5, 4, 6, 7), (5, 6, 7), [1]),
        ((5, 6, 7, 4), (5, 6, 7), [3]),
        ((5, 9, 4), (5, 9), [2]),
        ((5, 4, 9), (5, 9), [1]),
        ((5, 4, 4), (5, 4), [1, 2]),
        ((5, 6, 6, 6), (5, 6, 6), [1, 3]),
        ((5, 4, 4, 7), (5, 4, 7), [1]),  # as many classes as rows
        ((5, 3), (5, 3), []),
        ((5,), (5,), []),
    ],
)
def test_labels_tell_the_axis(
    shape: tuple[int, ...], labels: tuple[int, ...], axes: list[int]
) -> None:
    assert class_axes(shape, labels) == axes


def test_an_earlier_batch_decides_where_both_axes_fit() -> None:
    axis = ClassAxis()
    with pytest.raises(DataError, match="axis 1 or on the last"):
        axis.of(torch.zeros(2, 9, 9), torch.zeros(2, 9))
    assert axis.of(torch.zeros(2, 5, 9), torch.zeros(2, 5)) == 2  # text of five tokens
    assert axis.of(torch.zeros(2, 9, 9), torch.zeros(2, 9)) == 2  # as many tokens as tags
    assert ClassAxis(Output(class_axis=1)).of(torch.zeros(2, 9, 9), torch.zeros(2, 9)) == 1
    with pytest.raises(DataError, match="was said to be 4"):
        ClassAxis(Output(class_axis=4)).of(torch.zeros(2, 9, 9))


def test_scores_of_every_layout_are_the_plain_ones() -> None:
    for last in (False, True):
        network = made(lambda last=last: Segmenter(last=last))[0]  # type: ignore[misc]
        expected = plain(
            network, pictures(), lambda y, last=last: y.permute(0, 3, 1, 2) if last else y
        )  # type: ignore[misc]
        found = evaluate(network, pictures())
        assert found.accuracy == pytest.approx(expected)
        assert found.n == 3 * 8
        logits, labels = predictions(network, pictures())
        assert labels is not None
        assert score_logits(logits, labels).nll == pytest.approx(found.nll)
        assert reliability(logits, labels).ece == pytest.approx(found.ece)
    series = made(lambda: nn.Conv1d(2, 5, 3, padding=1))[0]
    data = [(torch.randn(6, 2, 11), torch.randint(5, (6, 11))) for _ in range(2)]
    assert evaluate(series, data).accuracy == pytest.approx(plain(series, data, lambda y: y))


@pytest.mark.parametrize(
    ("network", "labels", "message"),
    [
        (nn.Linear(10, 1), torch.zeros(6), "task='binary'"),
        (nn.Sequential(nn.Linear(10, 1), nn.Flatten(0)), torch.zeros(6), "task='regression'"),
        (nn.Linear(10, 3), torch.randn(5, 3), "5 labels"),
        (nn.Linear(10, 3), torch.rand(6), "convert class numbers with .long"),
        (
            nn.Linear(10, 3),
            torch.arange(6) % 3 + 1,
            "range from 1 to 3, but the network has 3 classes",
        ),
        (
            nn.Linear(10, 3),
            torch.zeros(6, 1, dtype=torch.long),
            r"labels have shape \(6, 1\).*give labels \(6,\) for class numbers",
        ),
    ],
    ids=["yes or no", "flat yes or no", "too few", "float", "from 1", "column"],
)
def test_labels_that_are_no_class_numbers_are_refused(
    network: nn.Module, labels: Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(network, [(torch.randn(6, 10), labels)])
