"""Tables, verdicts and charts of any task: a lower RMSE is a gain, and a higher one is not."""

from __future__ import annotations

import math
import re

import pytest
import torch
from report_figures import scores
from task_samples import alternating, regressed, row, scored
from torch import Tensor

from onefold.errors import DataError
from onefold.measure import LinearPath, Triangle
from onefold.report import (
    Point,
    barrier_curves,
    comparison_table,
    cost_chart,
    headline,
    path_table,
    score_chart,
    score_comparison,
    score_table,
    triangle_map,
    verdict,
)
from onefold.report.svg_check import check_svg
from onefold.tasks import Metric, Score

LOW, HIGH = regressed([0.5] * 40), regressed(alternating(1.0))
NAMES = ("network", "RMSE", "standard error")


def test_a_lower_error_is_marked_and_set_in_bold_and_a_higher_one_is_not() -> None:
    table = comparison_table([row("low", LOW), row("high", HIGH)], against="high")
    names = [column.name for column in table.columns]
    assert names[:6] == [*NAMES, "MAE", "R²", "MSE"]
    assert "accuracy" not in names
    assert table.rows[0][1] == pytest.approx(0.5)
    assert [column.best for column in table.columns[1:6]] == [
        "lowest",
        "",
        "lowest",
        "highest",
        "lowest",
    ]
    assert table.best(1) == {0}
    assert table.best(4) == {0}  # R²: the higher one
    assert table.emphasis == (0,)
    gain = names.index("gain over high")
    assert table.rows[0][gain] == pytest.approx(HIGH["rmse"] - 0.5)
    assert table.plain()[0][gain] == "+0.5000"
    assert table.rows[1][gain] is None


def test_a_page_has_no_answers_won_where_there_are_none() -> None:
    table = score_table([row("low", LOW, "member"), row("high", HIGH)], "high")
    names = [column.name for column in table.columns]
    assert names == [
        "network",
        "note",
        "RMSE",
        "standard error",
        "gain of high",
        "standard error, paired",
        "MAE",
        "R²",
        "MSE",
        "cost",
    ]
    assert table.best(2) == {0}
    assert table.rows[0][4] == pytest.approx(0.5 - HIGH["rmse"])  # high is worse than low
    assert "lower RMSE" in table.caption
    assert "ECE" not in table.caption
    assert "Gained" not in table.caption


def test_verdicts_and_headlines_turn_with_the_direction() -> None:
    better = verdict(row("the fold", LOW), [row("the average", HIGH)])
    assert better.startswith("The fold: better than the average by 0.5000 in RMSE (standard error")
    assert "paired over 40 examples" in better
    worse = verdict(row("the fold", HIGH), [row("the average", LOW)])
    assert worse.startswith("The fold: worse than the average by 0.5000 in RMSE")
    found = headline(row("the fold", LOW), row("member 1", HIGH), row("the ensemble", LOW, cost=2))
    assert found.tone == "gain"
    assert found.text == (
        "The fold is better than member 1 by 0.5000 in RMSE (RMSE 0.5000 against"
        f" {HIGH['rmse']:.4f}), and the ensemble reaches 0.5000 at twice the cost."
    )
    turned = headline(row("the fold", HIGH), row("member 1", LOW))
    assert turned.tone == "loss"
    assert "is worse than member 1 by 0.5000 in RMSE" in turned.text


def test_equal_errors_are_the_same_answers_and_close_ones_are_not_clear() -> None:
    same = verdict(row("it", LOW), [row("the other", LOW)])
    assert same == "It: the same answers as the other (+0.0000, standard error 0.0000)."
    text, tone = headline(row("it", LOW), row("the other", LOW))
    assert (text, tone) == ("It scores as the other does (RMSE 0.5000).", "even")
    near = regressed([error + 0.3 * (-1) ** (k // 2) for k, error in enumerate(alternating(0.5))])
    told = verdict(row("it", near), [row("the other", LOW)])
    assert "not clearly different from the other (" in told
    assert headline(row("it", near), row("the other", LOW)).tone == "even"


def masks(wrong: int) -> Tensor:
    """Logits (6, 2, 4, 4) that answer class 1 everywhere but at some positions of each image."""
    logits = torch.zeros(6, 2, 4, 4)
    logits[:, 1] = 3.0
    for k in range(6):
        logits[k, 1].view(-1)[: wrong + k % 2] = -3.0
    return logits


def logits_of(sure: float) -> Tensor:
    """Logits (8, 3) of several labels, right by `sure`."""
    return sure * (2 * YES - 1)


YES = (torch.arange(24).reshape(8, 3) % 2).float()
ALL = torch.ones(6, 4, 4, dtype=torch.long)
TOKENS = torch.arange(5).repeat(6, 1)
PAIRS = {
    "segmentation": ("mean IoU", scored(masks(1), ALL, "segmentation"), "highest"),
    "binary": (
        "accuracy",
        scored(torch.tensor([2.0, 1.0, -1.0, 1.0]), torch.tensor([1, 1, 0, 0]), "binary"),
        "highest",
    ),
    "multilabel": ("mAP", scored(logits_of(2.0), YES, "multilabel"), "highest"),
    "language_modeling": (
        "perplexity",
        scored(torch.zeros(6, 5, 7), TOKENS, "language_modeling"),
        "lowest",
    ),
}


@pytest.mark.parametrize("task", PAIRS)
def test_every_task_has_its_own_columns_and_words(task: str) -> None:
    label, own, best = PAIRS[task]
    for table in (comparison_table([row("a", own)]), score_table([row("a", own)], "a")):
        deciding = next(column for column in table.columns if column.name == label)
        assert deciding.best == best
    assert own.kind.shown(
        own.primary
    ) in f"{comparison_table([row('a', own)]).plain()[0][1]} %" or (own.kind.unit == "")
    check_svg(score_chart([row("a", own, "member")], "a").svg)


def test_values_of_other_tasks_by_hand() -> None:
    shares = PAIRS["segmentation"][1]
    assert shares.primary == pytest.approx((1 - 9 / 96) / 2)  # nothing is class 0
    assert PAIRS["language_modeling"][1].primary == pytest.approx(7)
    text = verdict(
        row("it", scored(torch.zeros(6, 5, 7), TOKENS, "language_modeling")),
        [row("the other", scored(30 * torch.eye(7)[TOKENS], TOKENS, "language_modeling"))],
    )
    assert text.startswith("It: better than the other by")  # it puts the wrong token first
    good, bad = scored(masks(0), ALL, "segmentation"), scored(masks(6), ALL, "segmentation")
    told = headline(row("it", good), row("the other", bad)).text
    assert told.startswith("It is better than the other by")
    assert " points in mean IoU (mean IoU 48." in told
    assert headline(row("it", bad), row("the other", good)).tone == "loss"


def test_binary_answers_are_won_and_lost() -> None:
    table = score_table([row("a", PAIRS["binary"][1])], "a")
    assert {"gained", "lost", "AUROC"} <= {column.name for column in table.columns}


def test_metrics_are_further_columns_and_decide_if_they_are_named() -> None:
    def off(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).abs().flatten(1).amax(1)

    metric = Metric(off, "largest error", highest=False, unit="m")
    low, high = (regressed(errors, metrics=[metric]) for errors in ([0.5] * 8, alternating(1.0, 8)))
    table = comparison_table([row("low", low), row("high", high)])
    column = next(one for one in table.columns if one.name == "largest error")
    assert (column.heading, column.best, column.detail) == ("largest error (m)", "lowest", False)
    by = [
        regressed(errors, metrics=[metric], by="largest error")
        for errors in ([0.5] * 8, alternating(1.0, 8))
    ]
    text = verdict(row("low", by[0]), [row("high", by[1])])
    assert text.startswith("Low: better than high by 0.5000 m in largest error")
    unknown = regressed([0.5] * 9, metrics=[Metric(off, "off")])
    assert comparison_table([row("a", unknown)]).columns[-5].best == ""


def test_scores_of_two_tasks_are_no_comparison() -> None:
    rows = [row("a", LOW), row("b", scores(0.9))]
    for use in (
        lambda: comparison_table(rows),
        lambda: score_table(rows, "a"),
        lambda: verdict(rows[0], rows[1:]),
    ):
        with pytest.raises(DataError, match="'a' has scores of regression by rmse, 'b' of class"):
            use()


RMSE = LOW.kind


def heights(points: list[Point], kind: Score = RMSE) -> list[float]:
    svg = cost_chart(points, kind).svg
    check_svg(svg)
    return [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)]


def test_the_lowest_error_is_on_top_and_the_axis_says_so() -> None:
    points = [
        Point("a", 0.5, 0.02, 1.0, "member"),
        Point("b", 0.7, 0.02, 1.0, "member"),
        Point("c", 0.4, 0.01, 2.0, "ensemble"),
    ]
    picture = cost_chart(points, RMSE)
    assert "RMSE (lower is better, lowest on top)" in picture.svg
    assert "accuracy" not in picture.svg
    assert "RMSE against the cost" in picture.caption
    assert "lower it is, the better" in picture.caption
    assert "a 0.5000 ± 0.0200 at 1 network" in picture.description
    low, high = heights(points)  # the best first
    assert low < high
    ensemble = float(re.search(r'<rect x="[\d.]+" y="([\d.]+)"', picture.svg)[1])  # type: ignore[index]
    assert ensemble < low
    turned = cost_chart(points, Score("r2", "R²")).svg
    assert "lower is better" not in turned
    assert picture.numbers is not None
    assert picture.numbers.rows[0] == ("a", 0.5, 0.02, 1.0)


@pytest.mark.parametrize("size", [1e-6, 1.0, 3e7])
def test_numbers_of_any_size_have_the_digits_that_tell_them_apart(size: float) -> None:
    points = [Point("a", 0.5 * size, math.nan, 1.0, "member"), Point("b", 0.52 * size, 0.0, 2.0)]
    for svg in (cost_chart(points, RMSE).svg, cost_chart(points, RMSE).narrow):
        check_svg(svg)
        numbers = re.findall(r">([\d.,]+)</tspan>", svg)
        assert len(set(numbers)) == 2
        ends = re.findall(r'<text x="([\d.-]+)"[^>]*text-anchor="end"[^>]*>([\d.,]+)', svg)
        assert all(float(x) > 5 * len(text) for x, text in ends)


def test_what_is_not_finite_stands_at_the_lower_edge() -> None:
    points = [Point("a", 12.0, 0.5, 1.0, "member"), Point("b", math.inf, math.nan, 1.0)]
    svg = cost_chart(points, Score("perplexity", "perplexity", highest=False)).svg
    check_svg(svg)
    assert "<polygon" in svg
    assert ">inf</tspan>" in svg
    check_svg(cost_chart(points[1:], RMSE).svg)


def test_paths_and_triangles_are_of_the_deciding_score_and_the_loss() -> None:
    path = LinearPath((0, 0.5, 1), (LOW, HIGH, LOW))
    figure = barrier_curves({"a line": path}, agreement=True)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["RMSE, lower is better", "MSE"]
    table = path_table({"a line": path})
    assert table.headings == ("line", "position", "RMSE", "MSE")
    assert table.rows[0][2:] == pytest.approx((0.5, 0.25))
    weights = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    drawn = triangle_map(Triangle(weights, (LOW, HIGH, LOW)))
    told = " ".join(axes.get_ylabel() + axes.get_xlabel() for axes in drawn.axes)
    assert "RMSE, lower is better" in told
    assert "accuracy" not in told
    perplexity = PAIRS["language_modeling"][1]
    assert path_table({"b": LinearPath((0, 1), (perplexity, perplexity))}).headings[2:] == (
        "perplexity",
        "NLL (nats)",
    )


def test_networks_side_by_side_say_unit_and_direction() -> None:
    axes = score_comparison({"a": LOW, "b": HIGH}).axes[0]
    assert axes.get_xlabel().startswith("RMSE, lower is better, bars: one standard error, n = 40")
    with pytest.raises(DataError, match="scores of regression"):
        score_comparison({"a": LOW, "b": scores(0.9)})
