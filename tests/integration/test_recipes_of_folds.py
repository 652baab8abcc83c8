"""Soups, distillation and targets in recipes and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from onefold.errors import SettingError
from onefold.fold import folds
from onefold.fold.least_squares import TARGETS
from onefold.recipe import check
from onefold.recipe.merge.document import FoldPart
from onefold.recipe.merge.run import check_names


def test_the_recipes_targets_are_those_of_least_squares() -> None:
    choices = get_args(get_args(FoldPart.model_fields["target"].annotation)[0])
    assert set(choices) == set(TARGETS)
    assert {"least_squares", "soup", "greedy_soup", "auto", "average"} <= set(folds.names())


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ({"method": "average", "ridge": 0.1}, "The fold 'average' takes no ridge"),
        ({"method": "least_squares", "target": "mean"}, "key 'fold.target'"),
        ({"method": "least_squares", "rows": 0}, "key 'fold.rows'"),
        ({"method": "least_squares", "polish": -1}, "key 'fold.polish'"),
        (
            {"method": "least_squares", "polsih": 1},
            "unknown key 'fold.polsih'; did you mean 'polish'",
        ),
    ],
)
def test_recipe_keys_are_checked(fold: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_names(
            check(
                {
                    "model": "digits",
                    "members": ["a.safetensors", "b.safetensors"],
                    "data": {"source": "sklearn:digits"},
                    "fold": fold,
                }
            )
        )


@pytest.mark.slow
def test_the_command_and_its_recipe_give_the_same_bits(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    flags = [
        "--align",
        "permutation",
        "--fold",
        "least_squares",
        "--target",
        "selection",
        "--rows",
        "3000",
        "--polish",
        "1",
    ]
    data = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "300"]
    result = onefold(
        "merge",
        *members,
        *data,
        *flags,
        "--report",
        tmp_path / "f.html",
        "-o",
        tmp_path / "f.safetensors",
    )
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "f.report.json").read_text())["data"]["merge"]
    assert [one["weights"] for one in report["folded"]["layers"]] == [
        "conv1.weight",
        "conv2.weight",
        "conv3.weight",
        "head.weight",
    ]
    assert report["polished"]["passes"] == 1
    assert "Least squares" in (tmp_path / "f.html").read_text()
    again = onefold("merge", tmp_path / "f.recipe.yaml", "-o", tmp_path / "g.safetensors")
    assert again.status == 0, again.err
    assert (tmp_path / "f.safetensors").read_bytes() == (tmp_path / "g.safetensors").read_bytes()
    assert "warning" not in again.err
