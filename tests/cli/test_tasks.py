"""Commands and recipes that name a task, metrics and what decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import tvshim  # noqa: F401 - before torchmetrics
import yaml
from task_cases import CASES, task_members

import onefold as of
from onefold.errors import RecipeError
from onefold.recipe.merge.document import check
from onefold.recipe.reading import read_as
from onefold.recipe.soft.document import SoftRecipe

OWN = """
import torch
import onefold
from onefold.tasks import Metric, Regression, own_metrics, tasks


@tasks.register("absolute")
class Absolute(Regression):
    name = "absolute"

    def losses(self, values, targets):
        return (values - targets.to(values)).abs().mean(1)


@own_metrics.register("gap")
def gap(outputs, labels):
    return (outputs - labels).abs().amax(1)


gap.higher_is_better = False


@own_metrics.register("aimless")
def aimless(outputs, labels):
    return (outputs - labels).mean(1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members, data in NumPy files and in a function, and a file of a user's own."""
    place = tmp_path_factory.mktemp("tasks")
    for task, case in CASES.items():
        for k, network in enumerate(task_members(task)):
            of.save(network, place / f"{task}{k}.safetensors")
        arrays = {}
        for split, seed in (("train", 31), ("test", 32)):
            x, y = map(torch.cat, zip(*case.data(192, seed=seed), strict=True))
            arrays |= {f"x_{split}": x.numpy(), f"y_{split}": y.numpy()}
        np.savez(place / f"{task}.npz", **arrays)
        code = (
            "from task_cases import CASES\n\n\n"
            f"def build():\n    return CASES['{task}'].build()\n\n\n"
            "def load(split, batch_size=64, shuffle=False, seed=0):\n"
            f"    return CASES['{task}'].data(192, seed=31 + (split == 'test'), size=batch_size)\n"
        )
        (place / f"{task}_net.py").write_text(code)
    (place / "own.py").write_text(OWN)
    return place


def given(folder: Path, task: str, source: str = "numpy") -> list[object]:
    """The options of the architecture and data."""
    data = f"numpy:{folder}/{task}.npz" if source == "numpy" else f"{folder}/{task}_net.py:load"
    return ["--model", f"{folder}/{task}_net.py:build", "--data", data]


def members(folder: Path, task: str) -> list[Path]:
    return [folder / f"{task}{k}.safetensors" for k in range(2)]


@pytest.mark.parametrize("source", ["numpy", "file"])
@pytest.mark.parametrize("task", list(CASES))
def test_eval_scores_every_task(onefold: Callable, folder: Path, task: str, source: str) -> None:
    call = ["eval", *members(folder, task), *given(folder, task, source), "--task", task]
    result = onefold(*call, "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    scores = found["members"][0]
    wanted = of.evaluate(task_members(task)[0], CASES[task].data(192, seed=32), task=task)
    assert scores[CASES[task].score] == pytest.approx(wanted.primary, rel=1e-5)
    shown = onefold(*call)
    assert shown.status == 0, shown.err
    assert wanted.kind.label in shown.out


@pytest.mark.parametrize("task", list(CASES))
def test_soft_learns_gates_of_a_task_and_its_recipe_makes_them_again(
    onefold: Callable, folder: Path, tmp_path: Path, task: str
) -> None:
    path = tmp_path / "s.safetensors"
    call = [*members(folder, task), *given(folder, task), "--task", task, "--steps", "15"]
    result = onefold("soft", *call, "--level", "model", "--eval-split", "test", "-o", path)
    assert result.status == 0, result.err
    assert CASES[task].score in path.with_suffix(".report.json").read_text()
    recipe = yaml.safe_load(path.with_suffix(".recipe.yaml").read_text())
    assert recipe["scoring"]["task"] == task
    again = tmp_path / "again.safetensors"
    result = onefold("soft", path.with_suffix(".recipe.yaml"), "--trust", "-o", again)
    assert result.status == 0, result.err
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("task", list(CASES))
def test_merge_takes_a_task(onefold: Callable, folder: Path, tmp_path: Path, task: str) -> None:
    path, page = tmp_path / "m.safetensors", tmp_path / "m.html"
    call = [*members(folder, task), *given(folder, task), "--task", task, "--report", page]
    result = onefold("merge", *call, "--eval-split", "test", "-o", path)
    assert result.status == 0, result.err
    kind = of.tasks.tasks.get(task).scores[0]
    assert kind.label in result.out
    assert kind.label in page.read_text()
    if task == "regression":
        assert "accuracy" not in result.out.lower()
    compared = onefold("compare", *members(folder, task), *given(folder, task), "--task", task)
    assert compared.status == 0, compared.err


@pytest.mark.parametrize("task", list(CASES))
@pytest.mark.parametrize("command", ["subspace", "persist"])
def test_training_takes_a_task(
    onefold: Callable, folder: Path, tmp_path: Path, command: str, task: str
) -> None:
    data = given(folder, task)
    more = ["--rounds", "2", "--val-split", "test"] if command == "persist" else []
    call = [*data, "--task", task, "--epochs", "2", "--lr", "0.02", "--batch-size", "48", *more]
    result = onefold(command, *call, "--eval-split", "test", "-o", tmp_path / "run")
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert CASES[task].score in json.dumps(report)
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["scoring"] == {"task": task, "metrics": None, "by": None}


def test_tasks_and_metrics_of_a_users_own_file(
    onefold: Callable, folder: Path, tmp_path: Path
) -> None:
    own = ["--use", folder / "own.py", "--task", "absolute", "--metric", "gap", "--by", "gap"]
    call = [*members(folder, "regression"), *given(folder, "regression"), *own]
    result = onefold("eval", *call, "--json")
    assert result.status == 0, result.err
    first = json.loads(result.out)["members"][0]
    assert first["by"] == "gap"
    assert first["task"] == "absolute"
    path = tmp_path / "s.safetensors"
    result = onefold("soft", *call, "--level", "model", "--steps", "5", "-o", path)
    assert result.status == 0, result.err
    assert "gap" in result.out
    recipe = read_as(SoftRecipe, path.with_suffix(".recipe.yaml"), trust=True)
    assert recipe.scoring.scoring().by == "gap"


def test_a_metric_of_torchmetrics_by_its_name(onefold: Callable, folder: Path) -> None:
    call = [*members(folder, "classification"), *given(folder, "classification")]
    metric = ["--metric", "MulticlassF1Score(num_classes=3)", "--by", "MulticlassF1Score"]
    result = onefold("eval", *call, *metric, "--json")
    assert result.status == 0, result.err
    first = json.loads(result.out)["members"][0]
    assert 0.3 < first["MulticlassF1Score"] <= 1
    assert first["by"] == "MulticlassF1Score"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "regresion"], "there is no task named 'regresion'; did you mean 'regression'?"),
        (
            ["--by", "rmsee"],
            "there is no score 'rmsee' of any task or metric to choose by; did you",
        ),
        (["--task", "regression", "--by", "accuracy"], "no score 'accuracy' of regression to ch"),
        (["--metric", "MulticlassF2"], "torchmetrics has no metric 'MulticlassF2'"),
        (["--metric", "MeanSquaredError(nothing=1)"], "cannot be made"),
        (["--metric", "MeanSquaredError("], "is not written as NAME(argument=value, ...)"),
        (["--use", "OWN", "--metric", "aimless", "--by", "aimless"], "nothing says whether more"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "soft", "merge", "subspace", "persist"])
def test_what_cannot_be_scored_is_told_before_anything_is_read(
    refused: Callable, folder: Path, tmp_path: Path, command: str, flags: list[str], message: str
) -> None:
    flags = [str(folder / "own.py") if flag == "OWN" else flag for flag in flags]
    trains = command in ("subspace", "persist")
    call = [] if trains else members(folder, "regression")
    call = [*call, *given(folder, "regression"), *(["--epochs", "1"] if trains else [])]
    out = [] if command == "eval" else ["-o", tmp_path / "f.safetensors"]
    told = refused(command, *call, *flags, *out)
    assert message in told
    assert "Reading" not in told


@pytest.mark.parametrize(
    ("task", "of_data", "message"),
    [
        ("binary", "regression", "labels of yes or no are 0 and 1"),
        ("multilabel", "regression", "labels of yes or no are 0 and 1"),
        ("classification", "regression", "class numbers"),
        ("language_modeling", "segmentation", "language modeling"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "soft", "subspace", "persist"])
def test_a_task_that_does_not_fit_is_one_sentence(
    refused: Callable,
    folder: Path,
    tmp_path: Path,
    command: str,
    task: str,
    of_data: str,
    message: str,
) -> None:
    trains = command in ("subspace", "persist")
    call = [] if trains else members(folder, of_data)
    call = [*call, *given(folder, of_data), *(["--epochs", "1"] if trains else [])]
    call += ["--val-split", "test"] if command == "persist" else []
    out = [] if command == "eval" else ["-o", tmp_path / "f.safetensors"]
    assert message in refused(command, *call, "--task", task, *out)


def test_a_recipe_says_the_task_in_short_or_in_full() -> None:
    content = {"model": "digits", "members": ["a.safetensors", "b.safetensors"], "data": "numpy:x"}
    short = check({**content, "scoring": "regression"})
    assert short.scoring.scoring().named is not None
    full = check({**content, "scoring": {"task": "regression", "by": "mae"}})
    assert full.scoring.scoring().by == "mae"
    assert short.scoring == check({**content, "scoring": {"task": "regression"}}).scoring
    with pytest.raises(RecipeError, match=r"'scoring.task': there is no task named 'nothing'"):
        check({**content, "scoring": "nothing"})


def test_compare_takes_a_task_and_no_metrics(
    onefold: Callable, refused: Callable, folder: Path
) -> None:
    call = ["compare", *members(folder, "regression"), *given(folder, "regression")]
    result = onefold(*call, "--task", "regression")
    assert result.status == 0, result.err
    assert "accura" not in result.out
    assert "nats" not in result.out
    assert "--metric" in refused(*call, "--metric", "MeanSquaredError")
