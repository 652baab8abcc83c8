"""Reports of every kind of result, of networks of any task: scores, units, directions and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from task_cases import CASES, task_members
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, SettingError
from onefold.explore import Subspace
from onefold.measure import Scores, evaluate
from onefold.report import Report, Table
from onefold.result_reports.merges import report_merge, score_merge
from onefold.result_reports.networks import report_networks, score_networks
from onefold.result_reports.persistent_rounds import report_rounds, score_rounds
from onefold.result_reports.soft_merges import report_soft_merge, score_soft_merge
from onefold.result_reports.subspaces import report_subspace, score_subspace
from onefold.tasks import Metric, Scoring

TASKS = ["regression", "binary", "multilabel", "segmentation", "language_modeling"]
HEADS = {
    "regression": ("RMSE", "", "lowest"),
    "binary": ("accuracy", "%", "highest"),
    "multilabel": ("mAP", "%", "highest"),
    "segmentation": ("mean IoU", "%", "highest"),
    "language_modeling": ("perplexity", "", "lowest"),
}


def labelled(task: str, seed: int = 5) -> list[tuple[Tensor, Tensor]]:
    return CASES[task].data(96, seed=seed)


def averaged(task: str) -> Any:
    return onefold.merge(task_members(task), align="none", fold="average", repair="none")


def table_of(report: Report) -> Table:
    section = next(one for one in report.sections if one.title == "Scores")
    return next(block for block in section.blocks if isinstance(block, Table))


def check_page(report: Report, task: str, words: str = "") -> None:
    """The table and the chart have the deciding score of the task, with unit and direction."""
    label, unit, best = HEADS[task]
    table = table_of(report)
    column = next(k for k, one in enumerate(table.columns) if one.name == label)
    assert (table.columns[column].unit, table.columns[column].best) == (unit, best)
    numbers = [row[column] for row in table.rows]
    wanted = max(numbers) if best == "highest" else min(numbers)  # type: ignore[type-var]
    if len(set(numbers)) > 1:
        assert table.best(column) == {k for k, value in enumerate(numbers) if value == wanted}
    assert report.picture is not None
    assert label in report.picture.svg
    assert ("lower is better" in report.picture.svg) == (best == "lowest")
    page = report.to_html()
    assert words in page
    for word in ("accurate", "accuracy") if label == "RMSE" else ("more accurate",) * (unit == ""):
        assert word not in page, f"'{word}' on a page of {task}"
    json.loads(report.to_json())


@pytest.mark.parametrize("task", TASKS)
def test_the_report_of_a_merge(task: str) -> None:
    members, data = task_members(task), labelled(task)
    scored = score_merge(
        averaged(task), members, data, scoring=Scoring(task), calibration=labelled(task, 6)
    )
    check_page(report_merge(averaged(task), scored), task)
    scores = {row.name: row.scores for row in scored.candidates}
    by_hand = evaluate(members, data, task=task)
    assert scores["ensemble of 2"].primary == pytest.approx(by_hand.primary)
    own, best = scored.result.scores, scored.best
    assert best is not None
    top = max((scores["member 0"], scores["member 1"]), key=lambda one: one.rank)
    assert best.scores is top
    assert scored.headline is not None
    gap = own.kind.better(own.primary) - own.kind.better(top.primary)
    assert (scored.headline.tone == "gain") == (gap > 0 and "not clearly" not in scored.verdict)
    if scored.headline.tone != "even" and HEADS[task][0] != "accuracy":
        better = "better" if gap > 0 else "worse"
        assert f"is {better} than the best member by" in scored.headline.text
        assert f"in {HEADS[task][0]}" in scored.headline.text
    assert (own.classes is not None) == (task == "segmentation")
    barriers = scored.data()["barriers"]["as trained"]
    assert barriers["scores"][0]["task"] == task


def test_a_score_that_is_higher_is_no_gain_where_less_is_better() -> None:
    """The plain average of two drawn apart is far worse than they are, and its RMSE far higher."""
    members, data = task_members("regression"), labelled("regression")
    scored = score_merge(averaged("regression"), members, data)  # told from the labels
    assert scored.result.scores["rmse"] > min(
        row.scores["rmse"] for row in scored.candidates if row.kind == "member"
    )
    assert "worse than the best member" in scored.verdict
    assert scored.headline is not None
    assert scored.headline.tone == "loss"
    assert "In bold: the best." in scored.caption
    bold = [scored.table.rows[k][0] for k in scored.table.emphasis]
    assert bold == [min(scored.candidates, key=lambda row: row.scores["rmse"]).name]


@pytest.mark.parametrize("task", ["regression", "multilabel", "segmentation"])
def test_the_report_of_gates(task: str) -> None:
    members, data = task_members(task), labelled(task)
    soft = onefold.SoftMerge(members, level="model")
    result = onefold.fit_gates(soft, labelled(task, 7), task=task, steps=2)
    scored = score_soft_merge(result, members, data, scoring=Scoring(task))
    check_page(report_soft_merge(result, scored), task)


@pytest.mark.parametrize("task", ["regression", "segmentation", "language_modeling"])
def test_the_report_of_a_subspace(task: str) -> None:
    space = Subspace(task_members(task)[0], shape="line")
    networks = [space.vertex(0), space.vertex(1), space.midpoint()]
    data = labelled(task)
    scored = score_subspace(space, networks, data, data, scoring=Scoring(task))
    report = report_subspace(space, [1.0, 0.5], scored)
    check_page(report, task)
    assert bool(scored.curves) == (task == "segmentation")
    assert ("Calibration" in [section.title for section in report.sections]) == bool(scored.curves)
    facts = report.to_html()
    assert ("first epoch (nats)" in facts) == (task != "regression")
    assert HEADS[task][0][1:] in facts


def test_the_curve_of_a_segmenter_is_that_of_its_positions() -> None:
    space, data = Subspace(task_members("segmentation")[0], shape="line"), labelled("segmentation")
    networks = [space.vertex(0), space.vertex(1), space.midpoint()]
    scored = score_subspace(space, networks, data, data)
    row = next(one for one in scored.candidates if one.name == "midpoint")
    assert scored.curves["midpoint"].ece == pytest.approx(row.scores.ece)
    assert sum(scored.curves["midpoint"].count) == 96 * 64
    together = next(one for one in scored.candidates if one.name == "ensemble of 2 points")
    assert scored.curves["ensemble of 2 points"].ece == pytest.approx(together.scores.ece)
    assert together.note == "mean of probabilities at points from 0.2 to 0.8" or "random" in (
        together.note
    )


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_report_of_rounds(task: str) -> None:
    first, second = task_members(task)
    networks = {"round 0": first, "round 1": second, "restart 0": first, "restart 1": second}
    data = labelled(task)
    validation = {"round 0": 0.5, "round 1": 0.4, "restart 0": 0.3, "restart 1": 0.6}
    scored = score_rounds(networks, validation, "round 1", data, data, data, scoring=Scoring(task))
    best = "restart 0" if task == "regression" else "restart 1"  # the lowest error, or the highest
    assert f"the best restart by validation ({best})" in scored.verdict
    shown = {"regression": "RMSE 0.5000", "binary": "accuracy 50.00 %"}[task]
    assert scored.candidates[0].note == f"validation {shown}"
    runs = {name: {"score": 0.5, "losses": [1.0]} for name in networks}
    examples = {"training": 9, "validation": 9, "reference": 0}
    report = report_rounds(scored, runs, examples=examples)
    check_page(report, task)
    page = report.to_html()
    assert ("other answers" in page) == (task == "binary")
    assert ("last epoch (nats)" in page) == (task == "binary")


@pytest.mark.parametrize("task", TASKS)
def test_networks_side_by_side(task: str) -> None:
    members, data = task_members(task), labelled(task)
    found = score_networks(members, "ab", data, scoring=Scoring(task))
    check_page(report_networks(found, {}), task)
    best = max(found.candidates[:2], key=lambda row: row.scores.rank)
    assert found.best == best.name
    agree = [one for one in found.sentences if "agree with one another" in one]
    assert len(agree) == (0 if task in ("regression", "multilabel") else 1)
    alone = score_networks(members[:1], "a", data, scoring=Scoring(task))
    text = report_networks(alone, {}).verdict
    own = alone.candidates[0].scores
    if task == "binary":
        assert text == f"a answers {_short(own)} of 96 examples rightly."
    else:
        assert text == f"a has {own.kind.label} {_short(own)} on 96 examples."


def _short(own: Scores) -> str:
    if own.kind.unit == "%":
        return f"{100 * own.primary:.1f} % ± {100 * own.error:.1f}"
    return own.shown


def off_by(outputs: Tensor, labels: Tensor) -> Tensor:
    """The largest error of every example."""
    return (outputs - labels).abs().flatten(1).amax(1)


def test_write_report_takes_task_and_metrics(tmp_path: Path) -> None:
    members, data = task_members("regression"), labelled("regression")
    metric = Metric(off_by, "largest error", highest=False)
    report = onefold.write_report(
        averaged("regression"),
        members,
        data,
        tmp_path / "a.html",
        task="regression",
        metrics=[metric],
        by="largest error",
    )
    table = table_of(report)
    assert [table.columns[2].name, table.columns[2].best] == ["largest error", "lowest"]
    assert "RMSE" in [column.name for column in table.columns]
    assert "in largest error" in (tmp_path / "a.html").read_text()
    scores = report.data["scores"]["folded"]
    assert scores["by"] == "largest error"
    with torch.no_grad():
        errors = [off_by(averaged("regression").model(x), y) for x, y in data]
    assert scores["largest error"] == pytest.approx(float(torch.cat(errors).mean()), rel=1e-5)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    members, data = task_members("regression"), labelled("regression")
    folded, path = averaged("regression"), tmp_path / "a.json"
    for asked, kind, words in (
        ({"task": "regresion"}, SettingError, "no task named"),
        ({"by": "rmsd", "task": "regression"}, SettingError, "no score 'rmsd'"),
        ({"task": "classification"}, DataError, "."),
    ):
        with pytest.raises(kind, match=words):
            onefold.write_report(folded, members, data, path, **asked)
    assert not list(tmp_path.iterdir())


class Counted(nn.Module):
    """The same answer for every pixel."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.weight.data[number] = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[:, None, None].expand(len(x), 3, *x.shape[-2:])


def test_pixels_are_counted_by_class_and_no_gain_is_called_clear() -> None:
    data = labelled("segmentation")
    found = score_networks([Counted(0), Counted(1)], "ab", data)
    report = report_networks(found, {})
    section = next(one for one in report.sections if one.title == "Class by class")
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [column.name for column in table.columns] == ["class", "positions", *"ba", "gain"] or [
        column.name for column in table.columns
    ] == ["class", "positions", *"ab", "gain"]
    assert sum(int(row[1] or 0) for row in table.rows) == 96 * 64
    assert "clear" not in table.caption
