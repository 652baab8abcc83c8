"""The table of a page: paired gains, best values marked, headings of one line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.measure import score_logits
from onefold.report import Candidate, score_chart, score_table

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def answers(*given: int) -> Tensor:
    return 4.0 * torch.nn.functional.one_hot(torch.tensor(given), 3).double()


def rows() -> list[Candidate]:
    good, other = answers(0, 1, 2, 0, 1, 1), answers(0, 1, 2, 1, 2, 2)
    return [
        Candidate("member 0", score_logits(other, LABELS), 10, 1.0, "a note", "member"),
        Candidate("folded", score_logits(good, LABELS), 10, 1.0),
        Candidate("member 0, mapped", score_logits(other, LABELS), 10, 1.0, kind="mapped"),
    ]


def test_gains_are_those_of_the_named_row_over_each_other() -> None:
    table = score_table(rows(), "folded")
    names = [column.name for column in table.columns]
    cells = dict(zip(names, table.rows[0], strict=True))
    assert cells["gain of folded"] == pytest.approx(100 / 6)
    assert (cells["gained"], cells["lost"]) == (2, 1)
    assert table.rows[1][names.index("gained")] is None
    assert table.best(names.index("accuracy")) == {1}
    assert table.emphasis == (1,)
    assert score_table(rows(), "folded", "it").columns[4].name == "gain of it"
    with pytest.raises(DataError, match="no candidate named 'x'"):
        score_table(rows(), "x")


def test_mapped_members_are_no_part_of_the_chart() -> None:
    picture = score_chart(rows(), "folded")
    assert "mapped" not in picture.svg
    assert picture.numbers is not None
    assert [row[0] for row in picture.numbers.rows] == ["member 0", "folded"]
