"""Every figure under \"What was done\" of a merge is what was done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Plain, Residual, loader, members
from torch import nn
from watched_loaders import Spy, Watched, facts_of, size

import onefold.fold.steps as steps_of_merges
from onefold.alignment.matchers import CCA
from onefold.fold import MergeReport, merge
from onefold.fold.least_squares import LeastSquares
from onefold.recipe.document import DataPart, Job
from onefold.recipe.merge.document import Recipe

DIGITS = ["--model", "digits?width=4", "--data", "sklearn:digits"]


@pytest.fixture(scope="module")
def plain() -> list[nn.Module]:
    return members(Plain, 2)


@pytest.fixture(scope="module")
def residual() -> list[nn.Module]:
    return members(Residual, 2)


WAYS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "least squares alone": (
        {"align": "none", "repair": "none", "fold": "least_squares"},
        {"choice of the ensemble", "fold"},
    ),
    "aligned and repaired": (
        {"align": "permutation"},
        {"alignment", "targets of repair", "repair"},
    ),
    "re-estimated": ({"align": "none", "repair": "batchnorm"}, {"repair"}),
    "distilled": ({"align": "none", "repair": "none", "polish": 1}, {"polish"}),
    "unaligned and repaired": (
        {"align": "none", "repair": "full"},
        {"targets of repair", "repair"},
    ),
    "pooled": (
        {
            "align": "none",
            "repair": "none",
            "fold": "least_squares",
            "ensemble": "classes",
            "polish": 1,
        },
        {"fold", "polish", "shares of classes"},
    ),
    "nothing": ({"align": "none", "repair": "none"}, set()),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_examples_of_every_step_are_those_that_came_out_of_the_loader(
    residual: list[nn.Module], way: str
) -> None:
    settings, steps = WAYS[way]
    data = Watched([x for x, _ in loader(200, batch=50)])
    report = merge(residual, data, **{"fold": "average", **settings}).report
    assert set(report.used) == steps
    assert report.examples == (data.longest if steps else 0) == (200 if steps else 0)
    assert set(report.used.values()) == ({200} if steps else set())
    assert f"{report.examples} calibration examples" in str(report)
    assert report.to_dict()["examples"] == report.examples


@pytest.mark.slow
def test_least_squares_says_how_many_it_took_where_memory_or_rows_bound_it(
    plain: list[nn.Module],
) -> None:
    fold = LeastSquares(rows=120, ensemble="logits")
    report = merge(plain, loader(200, batch=50), align="none", repair="none", fold=fold).report
    assert report.used == {"fold": report.folded["examples"]} == {"fold": 100}
    assert report.examples == 100


@pytest.mark.slow
@pytest.mark.parametrize("fold", ["auto", "greedy_soup"])
@pytest.mark.parametrize("given", [True, False])
def test_examples_that_chose_are_told_apart(
    plain: list[nn.Module], fold: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    inner = LeastSquares.fold
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (seen.append(size(job.data)), inner(self, job))[1]
    )
    data, validation = Watched(loader(200, batch=20)), Watched(loader(60, seed=3, batch=30))
    report = merge(
        plain, data, align="permutation", fold=fold, validation=validation if given else None
    ).report
    assert report.used[steps_of_merges.CHOOSING] == (validation.longest if given else 40)
    assert data.longest == 200
    # The default takes what it chooses by out of the data before anything else reads them.
    assert report.examples == (160 if fold == "auto" and not given else 200)
    if fold == "auto":
        assert set(seen) == {200 if given else 160}
        assert report.used.get("fold", seen[0]) == seen[0]


@pytest.mark.slow
def test_settings_are_those_that_reached_the_code(
    plain: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    distil, align, folded = Spy(steps_of_merges.distil), Spy(steps_of_merges.align), []
    inner = LeastSquares.fold
    monkeypatch.setattr(steps_of_merges, "distil", distil)
    monkeypatch.setattr(steps_of_merges, "align", align)
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (folded.append((self, job)), inner(self, job))[1]
    )
    report = merge(
        plain,
        loader(200, batch=50),
        align=CCA(regularization=0.03),
        fold=LeastSquares(target="equal", rows=900, ridge=0.02),
        ensemble="probabilities",
        polish=2,
        weights=[3, 1],
        seed=5,
    ).report
    ((fold, job),) = folded
    own = report.settings["fold"]
    names = ("target", "rows", "ridge", "threshold", "ensemble", "head")
    assert own == {name: getattr(fold, name) for name in names}
    assert report.weights == job.shares == (0.75, 0.25)
    ((_, asked),) = align.calls
    assert report.settings["align"]["regularization"] == asked["method"].regularization == 0.03
    assert report.settings["align"]["positions of an example"] == "all"
    assert report.settings["align"]["features read"] in ("pre", "post")
    assert report.settings["align"]["prior"] is not None  # the matcher's default, by its value
    assert report.settings["seed"] == asked["seed"] == job.seed == 5
    (((*_, asked_polish), used),) = distil.calls
    assert report.polished["passes"] == asked_polish.passes == 2
    assert report.polished["ensemble"] == asked_polish.ensemble
    assert report.polished["seed"] == used["seed"]
    assert (report.polished["lr"], report.polished["batchnorm"]) == (1e-4, "eval")
    assert report.polished["steps"] == 8
    text = str(report)
    for part in (
        "target equal",
        "rows 900",
        "ridge 0.02",
        "ensemble probabilities",
        "polish 2 passes (ensemble probabilities",
        "seed 5",
        "0.75, 0.25",
    ):
        assert part in text
    assert (
        MergeReport(**{**json.loads(json.dumps(report.to_dict())), "weights": report.weights})
        == report
    )


@pytest.mark.slow
def test_defaults_are_written_out(plain: list[nn.Module]) -> None:
    report = merge(plain, loader(200, batch=50), align="permutation", fold="least_squares").report
    assert report.settings["fold"] == {
        "target": "pruning",
        "rows": 20000,
        "ridge": "chosen for each layer",
        "threshold": 0.5,
        "ensemble": "logits",
        "head": "squares",
    }
    again = merge(
        plain,
        loader(200, batch=50),
        align=merge(plain, loader(), align="permutation", fold="average").alignment,
        fold="average",
    ).report
    assert again.settings["align"]["computed before"] is True


PLACES = {  # every setting of a recipe -> the fact that tells it
    "align": "align",
    "reference": "reference",
    "max_positions": "align: positions of an example",
    "fold": "fold",
    "weights": "members' shares",
    "repair": "repair",
    "polish": "polish (passes)",
    "ensemble": "shares of the classes asked about",
    "until": "merged up to",
    "barrier": "reference",  # a picture
    "devices": "processes",
    "budgets": "further budgets folded to",
}


@pytest.mark.slow
def test_the_command_reports_what_it_did(
    onefold: Callable, members: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded, distil = [], Spy(steps_of_merges.distil)
    inner = LeastSquares.fold
    monkeypatch.setattr(steps_of_merges, "distil", distil)
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (folded.append((self, job)), inner(self, job))[1]
    )
    flags = [
        "--fold",
        "least_squares",
        "--target",
        "equal",
        "--rows",
        "700",
        "--ridge",
        "0.02",
        "--ensemble",
        "probabilities",
        "--polish",
        "1",
    ]
    how = [
        "--align",
        "none",
        "--repair",
        "none",
        "--weights",
        "3,1",
        "--seed",
        "4",
        "--samples",
        "150",
        "--skip",
        "20",
        "--batch-size",
        "25",
    ]
    scoring = ["--eval-split", "test", "--eval-samples", "80"]
    result = onefold(
        "merge",
        *members[:2],
        *DIGITS,
        *flags,
        *how,
        *scoring,
        "-o",
        tmp_path / "f.safetensors",
        "--report",
        tmp_path / "f.html",
    )
    assert result.status == 0, result.err
    facts = facts_of(tmp_path / "f.report.json")
    ((fold, job),) = folded
    (((*_, polishing), _),) = distil.calls
    assert facts["calibration examples"] == size(job.data) == 150
    assert facts["examples for fold"] == facts["examples for polish"] == 150
    assert (
        facts["calibration data"]
        == "sklearn:digits, train split after the first 20, in batches of 25"
    )
    assert facts["evaluation examples"] == 80
    for name in ("target", "rows", "ridge", "ensemble"):
        assert facts[f"fold: {name}"] == getattr(fold, name)
    assert facts["polish: ensemble"] == polishing.ensemble
    assert (facts["polish (passes)"], facts["polish: lr"], facts["polish: steps"]) == (
        polishing.passes,
        1e-4,
        6,
    )
    assert facts["seed"] == job.seed == 4
    assert facts["members' shares"] == "0.75, 0.25"
    assert facts["threads"] == torch.get_num_threads()
    assert facts["parameters of a member"] == sum(p.numel() for p in job.models[0].parameters())
    data = json.loads((tmp_path / "f.report.json").read_text())["data"]["merge"]
    assert data["examples"] == 150
    assert "calibration examples</dt><dd>150" in (tmp_path / "f.html").read_text()


@pytest.mark.slow
def test_every_setting_of_a_recipe_has_a_fact(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    own = set(Recipe.model_fields) - set(Job.model_fields)
    assert own == set(PLACES), "a recipe has a setting that no report tells"
    assert set(DataPart.model_fields) == {
        "source",
        "split",
        "samples",
        "skip",
        "batch_size",
    }  # `described`, and the number that was read
    one = [
        "--align",
        "cca",
        "--regularization",
        "0.2",
        "--fold",
        "least_squares",
        "--ensemble",
        "classes",
        "--class-shares",
        ",".join(["1"] * 10),
        *("--budgets", "1x", "--eval-samples", "50"),
    ]
    two = ["--align", "permutation", "--until", "50%"]
    told: set[str] = set()
    for flags in (one, two):
        result = onefold(
            "merge",
            *members[:2],
            *DIGITS,
            "--samples",
            "200",
            *flags,
            "-o",
            tmp_path / "f.safetensors",
            "--force",
        )
        assert result.status == 0, result.err
        facts = facts_of(tmp_path / "f.report.json")
        told |= set(facts)
    assert set(PLACES.values()) <= told
