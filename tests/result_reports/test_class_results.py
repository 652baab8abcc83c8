"""Class by class: what is gained and lost, by name, with the largest of many classes."""

from __future__ import annotations

import pytest
import torch

from onefold.report import Column
from onefold.result_reports.class_results import ALL, MOST, class_table, confusion_grid
from onefold.tasks.classes import ClassCounts


def counts(right: list[int], examples: int = 50) -> ClassCounts:
    return ClassCounts(torch.full((len(right),), examples), torch.tensor(right))


def test_gains_and_losses_are_told_by_name_and_clear_ones_marked() -> None:
    table = class_table(counts([50, 20, 45]), counts([49, 45, 45]), "folded", "member 1", ["cat"])
    assert [row[0] for row in table.rows] == ["cat", "1", "2"]
    assert [row[4] for row in table.rows] == pytest.approx([2.0, -50.0, 0.0])
    assert [row[5] for row in table.rows] == ["", "clear", ""]
    assert table.columns[2] == Column(name="member 1", unit="% right", digits=1)


def test_of_many_classes_those_that_differ_most_are_shown() -> None:
    many = ALL + 20
    table = class_table(counts(list(range(many))), counts([25] * many), "a", "b")
    assert len(table.rows) == 2 * MOST
    assert table.rows[0][0] == str(many - 1)
    assert table.rows[-1][0] == "0"
    assert f"of {many}." in table.caption


def test_classes_without_examples_have_no_row() -> None:
    own = ClassCounts(torch.tensor([2, 0]), torch.tensor([1, 0]), torch.tensor([[1, 1], [0, 0]]))
    assert len(class_table(own, own, "a", "b").rows) == 1
    assert confusion_grid(own, "a", ["x", "y"]).values == ((1.0, 1.0), (0.0, 0.0))
