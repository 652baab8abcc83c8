"""The report of a network's symmetries: what moves, what stays, why, and what to do."""

from __future__ import annotations

import pytest
import torch
from small_networks import Plain, loader
from torch import Tensor, nn

from onefold.report import Report
from onefold.result_reports.symmetries import NOTHING, advice, report_symmetries
from onefold.symmetry import find_symmetries


class Sorted(nn.Module):
    """A network with an operator in its middle that keeps the order of features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs).cumsum(1))  # type: ignore[no-any-return]


def test_a_network_that_moves_shows_its_picture_first() -> None:
    spec = find_symmetries(Plain(), next(iter(loader(4)))[0])
    report = report_symmetries(spec, "Plain")
    assert report.picture is not None
    assert report.picture.zoom
    assert "of the feature spaces between layers can move" in report.verdict
    assert report.sections[0].title == "What can move"
    html = report.to_html()
    assert html.index("<svg") < html.index("What can move</h2>")
    assert Report.from_json(report.to_json()) == report


def test_what_stays_says_why_and_what_to_do() -> None:
    report = report_symmetries(find_symmetries(Sorted(), torch.randn(2, 4)), "Sorted", "Proved.")
    titles = [section.title for section in report.sections]
    assert "What stays, and what to do about it" in titles
    assert "The proof in numbers" in titles
    assert "order along an axis" in report.to_html()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("output of the network", NOTHING),
        ("vocabulary", NOTHING),
        ("space of a convolution", NOTHING),
        ("reaches aten.foo, which has no rule", "Register a rule"),
        ("selected by index", "by their number"),
        ("something new", "averaged without a map"),
    ],
)
def test_every_reason_has_an_advice(reason: str, words: str) -> None:
    assert words in advice(reason)
