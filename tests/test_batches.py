"""What a batch is: examples along any axis, labels of any kind, and what is no class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.batches import RankShare, batches, fingerprint, labels_of
from onefold.errors import DataError
from onefold.fold.soft.examples import Examples
from onefold.forward import forward
from onefold.measure import score_logits
from onefold.symmetry import trace


class TimeFirst(nn.Module):
    """Series (time, n, 4) as nn.LSTM takes them, to classes of each, or of every step."""

    def __init__(self, steps: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.steps = nn.LSTM(4, 5), nn.Linear(5, 3), steps

    def forward(self, x: Tensor) -> Tensor:
        found = self.body(x)[0]
        return self.head(found if self.steps else found[-1])


class Encoder(nn.Module):
    """Attention over the first axis, as nn.MultiheadAttention has it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.up, self.head = (
            nn.MultiheadAttention(4, 2),
            nn.Linear(4, 6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.up(x + self.attend(x, x, x)[0])).mean(0))


class Molecules(nn.Module):
    """Nodes (nodes, 4), edges (2, edges) and to which of 3 graphs each node belongs."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        hidden = torch.relu(self.up(x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])))
        return self.head(torch.zeros(3, 6, dtype=hidden.dtype).index_add(0, graph, hidden))


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.up(x)))


def pair(build: Any) -> list[nn.Module]:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(build().eval())
    return found


def molecules() -> list[Any]:
    torch.manual_seed(4)
    found = []
    for nodes, edges in ((9, 14), (12, 20)):
        graph = torch.arange(nodes) * 3 // nodes
        found.append(
            (
                (torch.randn(nodes, 4), torch.randint(nodes, (2, edges)), graph),
                torch.randint(2, (3,)),
            )
        )
    return found


@pytest.mark.parametrize("build", [TimeFirst, Encoder])
def test_examples_along_the_second_axis_are_counted(build: Any) -> None:
    torch.manual_seed(2)
    models = pair(build)
    data = [(torch.randn(6, n, 4), torch.randint(3, (n,))) for n in (9, 9, 5)]
    assert onefold.merge(models, data, align="permutation", fold="average").report.examples == 23
    assert onefold.evaluate(models[0], data).n == 23
    unlabelled = [x for x, _ in data]
    assert onefold.align(models, unlabelled, method="permutation").examples == 23
    folded = onefold.merge(models, data, align="permutation", fold="least_squares")
    assert folded.report.folded["examples"] == 23


def test_examples_are_counted_where_the_lengths_are_equal_or_labels_are_of_steps() -> None:
    torch.manual_seed(2)
    data = [(torch.randn(t, n, 4), torch.randint(3, (t, n))) for t, n in ((7, 7), (4, 9))]
    models = pair(lambda: TimeFirst(steps=True))
    assert onefold.align(models, data, method="permutation").examples == 16
    # Labels of every step do not tell which axis counts examples, so the first does.
    assert onefold.evaluate(models[0], data).n == 7 + 4


def test_rows_stay_rows_where_another_axis_has_the_length_of_something() -> None:
    traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(48, 8)), (torch.randn(4, 3, 4, 4),))
    assert traced.example_axis == 0
    assert next(iter(batches([(torch.randn(8, 3, 32, 32), torch.rand(32, 6))]))).size == 8
    assert next(iter(batches([(torch.randn(8, 3, 32, 32), torch.zeros(8))]))).size == 8


def test_inputs_of_several_first_axes_have_as_many_examples_as_labels() -> None:
    models = pair(Molecules)
    assert (
        onefold.merge(models, molecules(), align="permutation", fold="average").report.examples == 6
    )
    assert onefold.evaluate(models[0], molecules()).n == 6


KINDS: dict[str, Any] = {
    "names": [f"{k}.png" for k in range(8)],
    "one name": "scan.png",
    "a dict of boxes": {"boxes": torch.zeros(3, 4), "image": torch.arange(3)},
    "a list of dicts": [{"masks": torch.zeros(2, 5, 5)}] * 8,
    "nothing for each": [None] * 8,
    "ragged lists": [[1, 2], [3]] * 4,
    "tensors of other lengths": [torch.zeros(k, 4) for k in range(8)],
    "names in an array": np.array(["a", "b"] * 4),
    "objects": [object()] * 8,
}


@pytest.mark.parametrize("name", KINDS)
def test_labels_of_any_kind_are_ignored_where_none_are_needed(name: str) -> None:
    models, x = pair(Rows), [torch.randn(8, 4) for _ in range(2)]
    data = [(part, KINDS[name]) for part in x]
    merged = onefold.merge(models, data, align="permutation", fold="average")
    assert merged.report.examples == 16
    plain = onefold.merge(models, x, align="permutation", fold="average")
    assert all(
        torch.equal(v, plain.model.state_dict()[k]) for k, v in merged.model.state_dict().items()
    )
    assert fingerprint(data) == fingerprint(x)
    onefold.merge(
        models, [{"x": part, "labels": KINDS[name]} for part in x], align="none", fold="average"
    )


@pytest.mark.parametrize("name", KINDS)
def test_labels_of_no_usable_kind_are_refused_where_some_are_needed(name: str) -> None:
    models, data = pair(Rows), [(torch.randn(8, 4), KINDS[name])] * 3
    for call in (
        lambda: onefold.evaluate(models[0], data),
        lambda: onefold.barrier(*models, data),
        lambda: onefold.merge(models, data, fold="greedy_soup", align="none"),
        lambda: Examples.of(data),
        lambda: fingerprint(data, labels=True),
    ):
        with pytest.raises(DataError) as caught:
            call()
        message = str(caught.value)
        assert "labels" in message
        assert message.count(". ") == 0
        assert message.endswith(".")


def test_boxes_of_a_whole_batch_are_no_labels_of_examples() -> None:
    data = [(torch.randn(8, 4), torch.rand(21, 6)) for _ in range(2)]
    assert (
        onefold.merge(pair(Rows), data, align="permutation", fold="average").report.examples == 16
    )
    with pytest.raises(DataError, match="8 inputs but 21 labels; give one label per input"):
        onefold.evaluate(pair(Rows)[0], data)


def test_numbers_of_any_sequence_are_labels() -> None:
    x = torch.randn(3, 4)
    for labels in ([0, 1, 2], (0, 1, 2), np.array([0, 1, 2]), range(3)):
        (batch,) = batches([(x, labels)])
        assert torch.equal(labels_of(batch, "they are read"), torch.tensor([0, 1, 2]))


def test_gates_are_not_learned_from_examples_along_another_axis() -> None:
    with pytest.raises(DataError, match="along another axis than the first"):
        Examples.of([(torch.randn(6, 9, 4), torch.randint(3, (9,)))])


def ignoring(value: int, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(6)
    x, labels = torch.randn(40, 4), torch.randint(classes, (40,))
    left = torch.rand(40) < 0.4
    return x, torch.where(left, value, labels), ~left


@pytest.mark.parametrize("value", [-100, 255, -1])
def test_labels_that_are_no_class_are_left_out_of_scores_and_barriers(value: int) -> None:
    x, labels, kept = ignoring(value)
    models = pair(Rows)
    found = onefold.evaluate(models, [(x[:25], labels[:25]), (x[25:], labels[25:])])
    wanted = onefold.evaluate(models, [(x[kept], labels[kept])])
    assert (found.n, found.ignored) == (int(kept.sum()), int((~kept).sum()))
    for name in ("accuracy", "nll", "ece", "brier", "agreement"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=1e-12)
    assert f"{found.ignored} labels that are no class left out" in str(found)
    path, plain = (
        onefold.barrier(*models, data, points=3)
        for data in ([(x, labels)], [(x[kept], labels[kept])])
    )
    assert path.losses == pytest.approx(plain.losses, abs=1e-12)
    assert f"{found.ignored} labels that are no class left out" in str(path)
    assert "left out" not in str(plain)


def test_a_batch_without_any_class_counts_nothing() -> None:
    x, labels, kept = ignoring(-100)
    found = onefold.evaluate(pair(Rows)[0], [(x, labels), (x, torch.full((40,), -100))])
    assert (found.n, found.ignored) == (int(kept.sum()), 80 - int(kept.sum()))
    with pytest.raises(DataError, match="as all 40 labels are negative, 255 or missing"):
        onefold.evaluate(pair(Rows)[0], [(x, torch.full((40,), 255))])


def test_255_is_a_class_where_there_are_so_many() -> None:
    logits = torch.zeros(2, 300)
    logits[:, 255] = 9.0
    found = score_logits(logits, torch.tensor([255, -100]))
    assert (found.n, found.ignored, found.accuracy) == (1, 1, 1.0)
    with pytest.raises(DataError, match="range from 0 to 254"):
        score_logits(torch.zeros(2, 4), torch.tensor([0, 254]))


def test_shares_hold_every_batch_once_under_its_own_number() -> None:
    data = [torch.full((2, 1), float(k)) for k in range(5)]
    for world in (1, 2, 3, 7):
        shares = [list(batches(RankShare(data, rank, world))) for rank in range(world)]
        assert sorted((int(b.args[0][0, 0]), b.index) for own in shares for b in own) == [
            (k, k) for k in range(5)
        ]
    own = list(batches(RankShare(data[1::2], 1, 2, sharded=True)))
    assert [(int(b.args[0][0, 0]), b.index) for b in own] == [(1, 1), (3, 3)]
    with pytest.raises(DataError, match="no batch"):
        list(batches(RankShare([], 1, 2)))


X = torch.randn(4, 3)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (X.long(), "holds whole numbers as input 0, but batch 0 floating-point numbers"),
        (X > 0, "truth values"),
        (X.to(torch.complex64), "complex numbers"),
        (X.to_sparse(), "floating-point numbers (sparse_coo)"),
        (X.to("meta"), "holds no numbers"),
    ],
)
@pytest.mark.parametrize("form", ["alone", "pair", "dict"])
def test_batches_of_another_kind_on_the_way_are_named(odd: Tensor, words: str, form: str) -> None:
    def made(x: Tensor) -> Any:
        y = torch.zeros(len(x), dtype=torch.int64)
        return {"alone": x, "pair": (x, y), "dict": {"x": x, "labels": y}}[form]

    data = [made(X), made(X.double()), made(odd)]
    with pytest.raises(DataError, match="Batch 2 of the test images") as refusal:
        list(batches(data, what="test images"))
    words = words.replace("input 0", "input x") if form == "dict" else words
    assert words in str(refusal.value)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_one_sentence(layout: torch.layout, pair: bool) -> None:
    nested = torch.nested.nested_tensor([X, X[:2]], layout=layout)
    with pytest.raises(DataError, match="Batch 1 of the data is a nested tensor; pad its parts"):
        list(batches([X, (nested, torch.zeros(2)) if pair else nested]))


class Ends(nn.Module):
    """A network that raises what ends a loop."""

    def forward(self, x: Tensor) -> Tensor:
        raise StopIteration


def test_a_network_cannot_end_a_loop_of_ours() -> None:
    with pytest.raises(DataError, match=r"Ends cannot run on batch 0 .*: StopIteration"):
        forward(Ends(), next(batches([X])))


def test_inputs_that_some_batches_lack_are_no_other_kind() -> None:
    data = [{"x": X, "mask": X > 0}, {"x": X}, {"mask": X > 0, "x": X}]
    assert len(list(batches(data))) == 3


class Streamed:
    """So many batches that do not say their number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        return (X for _ in range(self.count))


@pytest.mark.parametrize("data", [Streamed(12), RankShare(Streamed(24), 0, 2), Streamed(11)])
def test_data_that_may_have_no_end_are_told_once(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.batches.MANY", 10)
    with pytest.warns(UserWarning, match="test images has yielded 10 batches and does not") as told:
        list(batches(data, what="test images"))
    assert len(told) == 1


@pytest.mark.parametrize("data", [[X] * 12, Streamed(10), RankShare([X] * 24, 0, 2)])
def test_data_that_end_are_not_doubted(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.batches.MANY", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(batches(data))
