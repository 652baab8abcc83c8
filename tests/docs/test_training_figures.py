"""What the pages of evidence on soft merging, subspaces and persistent neurons say of figures is
what the benchmarks' JSON says. Their tables are written from it (test_evidence.py).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ("line", "curve", "simplex")


def read(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def prose(page: str) -> str:
    """A page's text on one line."""
    return " ".join((ROOT / "docs" / "evidence" / f"{page}.md").read_text().split())


def rounded(value: float, digits: int = 1) -> str:
    """As people round: a half goes up. Figures are means of percentages of two digits."""
    exact = Decimal(str(round(value, 6)))
    return str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)).replace("-0.0", "0.0")


def between(values: Iterable[float], digits: int = 1) -> str:
    """The range of the values: "6.8 to 8.0"."""
    found = list(values)
    low, high = rounded(min(found), digits), rounded(max(found), digits)
    return f"{low} to {high}"


def level(own: dict[str, Any], name: str, key: str = "above best") -> list[float]:
    """The gains of one level of gates, one for each group."""
    return [group[key] for group in own["levels"][name]["groups"]]


def baseline(own: dict[str, Any], name: str) -> list[float]:
    """The gains of a baseline over the best member, one for each group."""
    return [row[name] - row["best"] for row in own["baselines"]]


def test_what_is_said_of_gates_and_different_knowledge() -> None:
    text, own = prose("soft_merging"), read("soft/knowledge-smallcnn")["different"]
    whole = {rounded(gain) for gain in baseline(own, "ensemble")}
    assert whole <= {"11.3", "11.4"}
    for said in (
        f"gates win {between(level(own, 'model'))} points over the best member at model level,"
        f" {between(level(own, 'module'))} at module level and {between(level(own, 'layer'))} at"
        " layer level",
        "The ensemble, at five times the cost, wins 11.3; distilling it with the same 500 images"
        f" wins {between(baseline(own, 'distillation'))}; the aligned average by CCA"
        f" {between(baseline(own, 'aligned average, cca'))}.",
    ):
        assert said in text, said


def test_what_is_said_of_gates_of_residual_networks() -> None:
    text, record = prose("soft_merging"), read("soft/knowledge-resnet20")
    apart, siblings = record["different"], record["siblings"]

    def below(values: list[float]) -> str:
        return between(-value for value in values)

    for said in (
        f"gates over whole networks win {between(level(apart, 'model'))} points, as much as the"
        f" ensemble ({between(baseline(apart, 'ensemble'))})",
        f"gated layers end {below(level(apart, 'layer'))} points below the best member",
        f"ends {below(baseline(apart, 'distillation'))} points below as well",
        f"a body and a head, end {between(level(apart, 'module'))} points above it",
        f"gates win {between(level(siblings, 'model'))} points over the best member at model level,"
        f" {between(level(siblings, 'module'))} at module level (a body and a head) and"
        f" {between(level(siblings, 'layer'))} at layer level",
        f"as returned {between(level(siblings, 'layer', 'returned above best'))}:",
        f"The ensemble wins {between(baseline(siblings, 'ensemble'))}, the average of the weights"
        f" as they are {between(baseline(siblings, 'average'))}, distillation with the same 500"
        f" images {between(baseline(siblings, 'distillation'))}; the origin itself is"
        f" {below(baseline(siblings, 'origin'))} points below",
    ):
        assert said in text, said


def test_what_is_said_of_gates_and_the_same_knowledge() -> None:
    text = prose("soft_merging")
    small, deep = (read(f"soft/knowledge-{name}")["same"] for name in ("smallcnn", "resnet20"))
    said = (
        f"model gates are {between(level(small, 'model'))} points (`smallcnn`) and"
        f" {between(level(deep, 'model'))} points (ResNet-20) above the best member. Gated modules"
        " and layers are"
        f" {between(-gain for name in ('module', 'layer') for gain in level(small, name))} points"
        " below it for `smallcnn`"
    )
    assert said in text, said
    returned = [
        gain
        for own in (small, deep)
        for name in ("module", "layer")
        if name in own["levels"]
        for gain in level(own, name, "returned above best")
    ]
    low, high = rounded(abs(max(returned))), rounded(-min(returned))
    assert f"returns a member, {low} to {high} points below the best" in text


def test_what_is_said_of_bad_members() -> None:
    text = prose("soft_merging")
    records = {
        name: read(f"soft/robustness-{name}")["rows"]
        for name in ("smallcnn", "resnet20", "smallcnn-layer")
    }
    worst = {
        name: min(row["soft"][0]["above best honest"] for row in rows)
        for name, rows in records.items()
    }
    assert worst["smallcnn"] >= -0.5
    assert worst["resnet20"] >= 0
    assert "no result is more than 0.5 points (`smallcnn`) below the best honest member" in text
    assert f"gated network {rounded(-worst['smallcnn-layer'], 2)} points below its best" in text
    kept = {
        (row["attack"], row["bad"])
        for name, rows in records.items()
        for row in rows
        if row["soft"][0]["largest gate of a bad member"] > 0
    }
    assert kept == {("one layer of plain noise", 4)}
    attacks = {row["attack"] for rows in records.values() for row in rows}
    assert len(attacks) == 9
    assert "are spoiled in nine ways" in text


def test_what_is_said_of_the_cost_of_gates() -> None:
    text, record = prose("soft_merging"), read("soft/cost")

    def ratios(count: int, key: str) -> list[float]:
        return [own[key] for name, own in record.items() if name.endswith(f"K = {count}")]

    five, twenty = (ratios(count, "layer gates / plain step") for count in (5, 20))
    passes = ratios(5, "K passes with gates / plain step")
    assert {rounded(value) for value in five} == {"1.0"}
    assert (
        f"takes 1.0 times a plain step for five members and {between(twenty)} times for twenty;"
        f" five forward passes with gates take {between(passes)} times" in text
    )


def steps(seeds: list[dict[str, Any]], rival: str, shapes: Iterable[str] = SHAPES) -> list[float]:
    """The midpoints' accuracy less a rival's, mean over the seeds, one for each shape."""
    return [
        statistics.mean(s[f"{shape}, midpoint"]["accuracy"] - s[rival]["accuracy"] for s in seeds)
        for shape in shapes
    ]


def mean_of(seeds: list[dict[str, Any]], row: str, key: str) -> float:
    return statistics.mean(seed[row][key] for seed in seeds)


def test_what_is_said_of_subspaces_of_three_convolutions() -> None:
    text, noise = prose("subspaces"), read("subspace/quality-threeconv")["noise"]
    right, some, many = (noise[share]["seeds"] for share in ("0.0", "0.2", "0.4"))
    two = steps(right, "plain", SHAPES[:2])
    assert {rounded(-value) for value in two} == {"0.9"}
    ece = [mean_of(right, f"{shape}, midpoint", "ece") for shape in SHAPES]
    for said in (
        "With right labels it was not: 0.9 points less (line, curve; spread of the differences 0.1"
        f" to 0.5) and {rounded(-steps(right, 'plain')[2])} less (simplex)",
        f"{between(steps(some, 'plain'))} points more at 20 %",
        f"{between(steps(many, 'plain'))} more at 40 %",
        f"ECE {between(ece)} % beside {rounded(mean_of(right, 'plain', 'ece'))} % (plain) and"
        f" {rounded(mean_of(right, 'SWA', 'ece'))} % (SWA)",
    ):
        assert said in text, said


def test_what_is_said_of_subspaces_of_residual_networks() -> None:
    text, noise = prose("subspaces"), read("subspace/quality-resnet20")["noise"]
    right, some, many = (noise[share]["seeds"] for share in ("0.0", "0.2", "0.4"))
    low, high = (rounded(one(steps(right, "plain"))) for one in (min, max))
    assert f"With right labels equal: +{low} to +{high} points" in text
    for said in (
        f"With 20 % wrong labels {between(steps(some, 'plain'))} points more",
        f"with 40 % {between(steps(many, 'plain'))} (spread",
        f"{between(steps(some, 'SWA'))} points at 20 %",
        f"{between(steps(many, 'SWA'))} at 40 %",
    ):
        assert said in text, said
    plain = [f"{mean_of(seeds, 'plain', 'ece'):.0f}" for seeds in (right, some, many)]
    ranges = [
        between((mean_of(seeds, f"{shape}, midpoint", "ece") for shape in SHAPES), 0)
        for seeds in (right, some, many)
    ]
    assert (
        f"ECE {ranges[0]} % beside {plain[0]} % with right labels, {ranges[1]} beside {plain[1]} at"
        f" 20 %, {ranges[2]} beside {plain[2]} at 40 %" in text
    )


def test_what_is_said_of_the_cost_of_subspaces() -> None:
    text, record = prose("subspaces"), read("subspace/steps")
    heavy = record["ResNet-18, batch 2, 64x64"]

    def percent(own: dict[str, Any], kind: str, plain: str = "plain") -> str:
        return f"{100 * own[f'{kind} / {plain}'] - 100:.0f}"

    assert (
        f"a line costs {percent(heavy, 'line')} % and a simplex {percent(heavy, 'simplex')} %,"
        f" those of the official code {percent(heavy, 'official line')} and"
        f" {percent(heavy, 'official simplex')} %" in text
    )


def test_what_is_said_of_rounds() -> None:
    text, wells = prose("persistent_neurons"), read("persistent/landscapes")["tasks"]
    fixed, drawn = wells["six fixed landscapes"], wells["150 landscapes drawn for each seed"]

    def mean(own: dict[str, list[float]], way: str) -> float:
        return statistics.mean(own[way])

    ways = ("restarts", "gaussian", "control of gaussian")
    restarts, rounds, control = (mean(fixed, way) for way in ways)
    for said in (
        f"in {restarts:.0f} %, Gaussian rounds in {rounded(rounds, 0)} %, their control in"
        f" {control:.0f} %",
        f"it is {rounded(mean(drawn, 'restarts'))}, {mean(drawn, 'gaussian'):.0f} and"
        f" {mean(drawn, 'control of gaussian'):.0f} %",
        f"Gaussian rounds reach {mean(drawn, 'gaussian, mirror'):.0f} % on the drawn landscapes",
    ):
        assert said in text, said


def test_what_is_said_of_rounds_of_networks() -> None:
    text = prose("persistent_neurons")
    poor, good = (read(f"persistent/lenet-{name}")["ways"] for name in ("tiny", "good"))

    def best(ways: dict[str, Any], way: str, key: str = "best") -> float:
        return statistics.mean(one[key] for one in ways[way])

    for said in (
        f"{rounded(best(poor, 'restarts'))} % by the best of three restarts",
        f"gives {rounded(best(poor, 'snapshots'))} %, and rounds repelled from random points"
        f" {rounded(best(poor, 'control of gaussian, all'))} %",
        "three independent seeds make the better ensemble"
        f" ({rounded(best(good, 'restarts', 'ensemble'))} beside"
        f" {rounded(best(good, 'gaussian, all', 'ensemble'))} %)",
    ):
        assert said in text, said
