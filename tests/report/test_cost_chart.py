"""The chart on top: every network is there, nothing is drawn outside, and names do not overlap."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from onefold.errors import DataError
from onefold.report import Point, cost_chart
from onefold.report.svg_check import check_svg

POINTS = [
    Point("member 0", 0.95, 0.01, 1.0, "member"),
    Point("member 1", 0.951, 0.01, 1.0, "member"),
    Point("ensemble of 2", 0.97, 0.008, 2.0, "ensemble"),
    Point("plain average", 0.3, 0.02, 1.0),
    Point("folded <x>", 0.949, 0.01, 1.0, "result"),
]


@pytest.mark.parametrize("drawing", ["svg", "narrow"])
def test_all_networks_are_drawn_and_named_inside_the_picture(drawing: str) -> None:
    picture = cost_chart(POINTS)
    svg = getattr(picture, drawing)
    check_svg(svg)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())  # type: ignore[union-attr]
    for number in ("95.0", "95.1", "97.0", "30.0", "94.9"):
        assert f">{number}</tspan>" in svg
    assert "folded &lt;x" in svg
    assert "1 network<" in svg
    assert "2 networks<" in svg
    for x, y in re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)"', svg):
        assert 0 <= float(x) <= width
        assert 0 <= float(y) <= height
    named = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*><tspan', svg)
    heights = sorted(float(y) for x, y in named if x == named[0][0])
    assert len(heights) == 4
    assert min(b - a for a, b in pairwise(heights)) > 12


def test_a_point_far_below_does_not_squeeze_the_others() -> None:
    svg = cost_chart(POINTS).svg
    marks = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)]
    square = float(re.search(r'<rect x="[\d.]+" y="([\d.]+)"', svg)[1])  # type: ignore[index]
    assert min(marks) - square > 60  # two points of accuracy are far apart
    assert len(marks) == 2  # the plain average is an arrow at the lower edge
    assert cost_chart(POINTS).numbers.rows[3][:2] == ("plain average", 30.0)  # type: ignore[union-attr]


def test_many_members_are_drawn_and_only_the_best_of_them_is_named() -> None:
    members = [Point(f"member {k}", 0.9 - k / 1000, 0.01, 1.0, "member") for k in range(40)]
    svg = cost_chart(members).svg
    assert svg.count("<circle") == 40
    assert "member 0<" in svg
    assert "member 1<" not in svg


def test_equal_scores_and_a_single_network_have_a_chart() -> None:
    for points in (POINTS[:1], [Point("a", 1.0, 0.0, 1.0)] * 2, [Point("a", 0.0, 0.0, 1.0)]):
        check_svg(cost_chart(points).svg)
    with pytest.raises(DataError, match="no network to draw"):
        cost_chart([])
