"""The benchmark of tasks: its data in shares, members, rows and tables, with tiny settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.tasks.canvases import Recipe, canvases
from benchmarks.tasks.examples import Examples, Sizes
from benchmarks.tasks.measure import measured
from benchmarks.tasks.members import members, outputs_of
from benchmarks.tasks.registry import MODULES, Benchmark, benchmarks
from benchmarks.tasks.table import details, glance, value
from benchmarks.tasks.ways import WAYS

TINY = Sizes(40, 24, 24, 24)


def tiny(name: str) -> Benchmark:
    own = benchmarks()[name]()
    return replace(own, sizes=TINY, training=replace(own.training, epochs=1, batch=16))


def test_a_batch_is_cut_to_its_longest_example() -> None:
    series = torch.arange(24.0).reshape(3, 4, 2)
    lengths = torch.tensor([2, 3, 4])
    examples = Examples({"series": series, "lengths": lengths}, torch.tensor([0, 1, 0]), lengths)
    (x, n), y = examples[:2].batch()
    assert x.shape == (2, 3, 2)
    assert n.tolist() == [2, 3]
    assert y.tolist() == [0, 1]
    assert [batch[0][0].shape[1] for batch in examples.batches(1)] == [2, 3, 4]
    assert examples.unlabelled(3)[0][1] is None


def test_batches_by_keyword_have_labels_only_where_they_are_wanted() -> None:
    examples = Examples({"ids": torch.zeros(2, 3)}, torch.ones(2), keywords=True)
    assert set(examples.batches()[0]) == {"ids", "labels"}
    assert set(examples.unlabelled()[0]) == {"ids"}


def test_there_is_a_benchmark_for_every_kind_of_task() -> None:
    tasks = {build().task for build in benchmarks().values()}
    assert tasks >= {"segmentation", "regression", "multilabel", "binary", "language_modeling"}
    assert "classification" in tasks
    assert len(MODULES) == 7


@pytest.mark.parametrize("name", ["tables", "series"])
def test_parts_have_their_sizes_and_are_the_same_again(name: str) -> None:
    own = tiny(name)
    parts, again = own.load(TINY), own.load(TINY)
    assert [len(part) for part in parts.seen.values()] == [40, 40, 40]
    assert (len(parts.unlabelled), len(parts.choices), len(parts.test)) == (24, 24, 24)
    assert torch.equal(parts.test.labels, again.test.labels)
    assert not torch.equal(parts.test.labels, parts.choices.labels)


def test_one_row_in_fifty_is_of_the_other_share() -> None:
    parts = tiny("tables").load(Sizes(1000))
    low = [float((parts.seen[k].inputs["rows"][:, 2] < 0.5).float().mean()) for k in parts.seen]
    assert low[0] == pytest.approx(0.5, abs=0.06)
    assert low[1:] == pytest.approx([1 - low[2], low[2]], abs=1e-6)
    assert low[1] == pytest.approx(0.98)


def test_kinds_of_series_are_shared_out() -> None:
    parts = tiny("series").load(Sizes(1000))
    first = parts.seen["first"].labels.bincount(minlength=8)
    assert int(first[0::2].sum()) == 900
    assert (first > 0).all()


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("masks", [True, False])
def test_canvases_show_the_kinds_of_their_share(masks: bool) -> None:
    recipe = Recipe((0, 1, 8, 9), ((0, 1), (2, 3)), (1, 2), masks)
    parts = canvases(recipe, TINY)
    assert parts.test.inputs["images"].shape == (24, 1, 40, 40)
    labels = parts.seen["first"].labels
    if masks:
        assert labels.shape == (40, 40, 40)
        other = (labels > 2).flatten(1).any(1)
    else:
        assert labels.shape == (40, 4)
        other = labels[:, 2:].any(1)
    assert int(other.sum()) == 4


@pytest.mark.parametrize("name", ["tables", "series"])
def test_a_member_is_trained_once_and_the_same_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tiny(name)
    parts, states = own.load(TINY), []
    member = members(own, own.groups[1])[0]
    for folder in ("a", "b"):
        monkeypatch.setenv("ONEFOLD_TASKS_STATE", str(tmp_path / folder))
        states.append(member.model(parts).state_dict())
        assert member.seconds >= 0
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    kept = member.file.read_bytes()
    assert all(torch.equal(v, states[0][k]) for k, v in member.model(parts).state_dict().items())
    assert member.file.read_bytes() == kept


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", ["segmentation", "several_labels", "characters"])
def test_networks_learn_from_their_batches(name: str) -> None:
    own = tiny(name)
    parts = own.load(TINY)
    outputs, labels = outputs_of(own.build(), parts.choices[:4].batch())
    loss = own.loss(outputs, labels)
    loss.backward()
    assert torch.isfinite(loss)


def test_a_network_of_one_logit_takes_labels_without_an_axis_of_its_own() -> None:
    own = tiny("one_logit")
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0.0, 1, 1, 0])
    outputs = own.build()(images)
    assert outputs.shape == (4, 1)
    assert torch.isfinite(own.loss(outputs, labels))


def test_every_row_is_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFOLD_TASKS_STATE", str(tmp_path))
    found: dict[str, Any] = {}
    kept: list[str] = []
    own = replace(tiny("tables"), sizes=Sizes(40, 100, 24, 24))
    measured(own, found, lambda: kept.append(json.dumps(found, allow_nan=False)), lambda _: None)
    assert len(kept) == 2 * (3 + len(WAYS))
    assert found["task"] == own.task
    for group in found["groups"].values():
        assert list(group["rows"]) == ["member 0", "member 1", "ensemble", *WAYS]
        assert group["rows"][f"member {group['best']}"]["to best"] == {"gain": 0, "error": 0}
        # Gates refuse members that learned nothing.
        assert all("value" in group["rows"][name] for name in WAYS if "gates" not in name)
        assert all("value" in row or row["why not"] for row in group["rows"].values())
        plain, best = (group["rows"][name] for name in ("plain average", f"member {group['best']}"))
        assert (plain["to best"]["gain"] > 0) == (plain["value"] < best["value"])
        assert group["rows"]["the default"]["choice"]
    again = json.loads(kept[-1])
    measured(own, again, lambda: kept.append(""), lambda _: None)
    assert len(kept) == 2 * (3 + len(WAYS))
    assert again == json.loads(json.dumps(found))
    assert len(glance([found])) == 4
    assert len(details(found)) > 2 * (3 + len(WAYS))


def record(**rows: Any) -> dict[str, Any]:
    score = {"label": "RMSE", "unit": "", "highest": False, "scale": 1.0}
    gains = {"to best": {"gain": 0.25, "error": 0.125}, "to ensemble": {"gain": 0.0, "error": 0.0}}
    every = {f"member {k}": {"value": 2.0 + k} | gains for k in range(2)}
    every |= {"ensemble": {"value": 1.5} | gains}
    every |= {name: {"value": 1.75, "seconds": 3.2, "choice": ""} | gains for name in WAYS}
    groups = {"same": {"best": 0, "known": "", "rows": every | rows}}
    return {"name": "tables", "task": "regression", "score": score, "groups": groups}


def test_tables_show_scores_gains_and_reasons() -> None:
    refused = {"why not": "Gates need two layers; give two."}
    own = record(**{"gates of layers": refused, "the default": {"choice": "member 0", "value": 2}})
    own["groups"]["same"]["rows"]["the default"] |= own["groups"]["same"]["rows"]["member 0"]
    lines = details(own)
    assert "| least squares | 1.750 | +0.250 ± 0.125 | 0 | 3 |" in lines
    assert "| member 0, the best by held-out data | 2.000 | +0.250 ± 0.125 | 0 |  |" in lines
    assert "- Gates of layers: Gates need two layers; give two." in lines
    assert any(line.startswith("| the default: member 0 |") for line in lines)
    head, _, row = glance([own])
    assert head.count("|") == row.count("|")
    assert "tables (regression), other seeds: RMSE, less is better | 2.000 | 1.500 | 1.750" in row
    assert row.count("| - |") == 1


def test_shares_are_shown_in_percent() -> None:
    own = record()
    own["score"] |= {"unit": "%", "scale": 100}
    assert value(own, {"value": 0.81237}) == "81.24"
    assert value(own, {"value": "nan"}) == "nan"
