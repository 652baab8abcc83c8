"""`onefold.write_report`: the page of the commands for every kind of result in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Plain, loader, members
from torch import nn

import onefold
from onefold.errors import DataError, MembersError, OutputError, SettingError
from onefold.report import Report
from onefold.report.blocks import Facts


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    return members(Plain, 3)


def merged(networks: list[nn.Module], **settings: Any) -> Any:
    return onefold.merge(
        networks, loader(100), **{"fold": "average", "align": "permutation", **settings}
    )


def partial(networks: list[nn.Module]) -> Any:
    return onefold.partial_merge(networks, loader(100), until=0.5, align="permutation")


def gated(networks: list[nn.Module]) -> Any:
    return onefold.fit_gates(onefold.SoftMerge(networks, level="model"), loader(60), steps=2)


RESULTS: dict[str, tuple[Callable[[list[nn.Module]], Any], str, str]] = {
    "merge": (merged, "folded", "merge"),
    "partial merge": (partial, "folded", "merge"),
    "soft merge": (gated, "soft merge", "soft"),
}


def facts_of(report: Report) -> dict[str, Any]:
    blocks = [block for section in report.sections for block in section.blocks]
    return {
        name: value for b in blocks if isinstance(b, Facts) for name, value in dict(b.facts).items()
    }


@pytest.mark.parametrize("kind", RESULTS)
def test_every_kind_of_result_has_a_page_with_its_scores(
    networks: list[nn.Module], tmp_path: Path, kind: str
) -> None:
    make, row, key = RESULTS[kind]
    result, data = make(networks), loader(40, seed=3)
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in networks]
    report = onefold.write_report(result, networks, data, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text == report.to_html()
    assert report.summary in text
    scores = report.data["scores"]
    assert {"member 0", "member 2", "ensemble of 3", "plain average", row} <= set(scores)
    own = onefold.evaluate(result.model, data)
    assert scores[row]["accuracy"] == own.accuracy
    assert scores["member 1"]["nll"] == onefold.evaluate(networks[1], data).nll
    assert facts_of(report)["evaluation examples"] == 40
    assert key in report.data
    assert "recipe" not in report.data
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("kind", RESULTS)
def test_without_data_it_says_what_was_done_and_no_score(
    networks: list[nn.Module], tmp_path: Path, kind: str
) -> None:
    make, _, _ = RESULTS[kind]
    report = onefold.write_report(make(networks), networks, None, tmp_path / "page.json")
    assert (tmp_path / "page.json").read_text() == report.to_json()
    assert report.data["scores"] == {}
    assert "Scores" not in [section.title for section in report.sections]
    assert facts_of(report)["evaluation examples"] == 0


def test_partial_merges_say_how_far_they_went(networks: list[nn.Module], tmp_path: Path) -> None:
    result = partial(networks)
    report = onefold.write_report(result, networks, None, tmp_path / "page.json")
    facts = facts_of(report)
    assert facts["merged up to"] == result.report.until
    assert facts["merged share of the layers (%)"] == pytest.approx(100 * result.report.share)
    assert report.data["merge"]["folded"]["partial"]["until"] == result.report.until
    assert "partial" not in result.report.merged.folded  # the result itself is as before


def test_calibration_data_add_the_barriers(networks: list[nn.Module], tmp_path: Path) -> None:
    result, data = merged(networks), loader(40, seed=3)
    report = onefold.write_report(
        result, networks, data, tmp_path / "page.json", calibration=loader(40)
    )
    barriers = report.data["barriers"]
    assert set(barriers) == {"as trained", "aligned by permutation"}
    measured = onefold.barrier(networks[0], networks[1], data)
    assert json.loads(json.dumps(measured.to_dict())) == barriers["as trained"]
    without = onefold.write_report(result, networks, data, tmp_path / "other.json")
    assert without.data["barriers"] == {}


@pytest.mark.parametrize("count", [2, 1, 0])
@pytest.mark.parametrize("kind", RESULTS)
def test_other_members_than_those_of_the_result_are_refused(
    networks: list[nn.Module], tmp_path: Path, kind: str, count: int
) -> None:
    make, _, _ = RESULTS[kind]
    with pytest.raises(MembersError, match=rf"made of 3 networks and {count} were given"):
        onefold.write_report(make(networks), networks[:count], None, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.htm"])
def test_another_ending_is_refused_before_anything_is_scored(
    networks: list[nn.Module], tmp_path: Path, name: str
) -> None:
    data = [torch.zeros(0)]  # would be refused, too, but later
    with pytest.raises(OutputError, match=r"let the name end in \.html or \.json"):
        onefold.write_report(merged(networks), networks, data, tmp_path / name)


def test_a_page_that_exists_is_replaced_only_by_force(
    networks: list[nn.Module], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(OutputError, match=r"page\.html"):
        onefold.write_report(merged(networks), networks, None, page)
    assert page.read_text() == "mine"
    onefold.write_report(merged(networks), networks, None, page, force=True)
    assert page.read_text().startswith("<!")


def test_data_without_labels_and_other_results_are_refused(
    networks: list[nn.Module], tmp_path: Path
) -> None:
    result, unlabelled = merged(networks), [x for x, _ in loader(40)]
    with pytest.raises(DataError, match="labels"):
        onefold.write_report(result, networks, unlabelled, tmp_path / "page.html")
    for other in (result.model, result.report, None):
        with pytest.raises(SettingError, match="result"):
            onefold.write_report(other, networks, None, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
