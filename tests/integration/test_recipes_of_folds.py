"""Soups, distillation and targets in recipes and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from onefold.errors import SettingError
from onefold.recipe import check


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fold": {"name": "average", "ridge": 0.1}}, "the fold 'average' takes no ridge"),
        ({"fold": {"name": "least_squares", "target": "mean"}}, "There is no target 'mean'"),
        ({"fold": {"name": "least_squares", "rows": 0}}, "asked for 0 rows"),
        ({"polish": -1}, "key 'polish.passes'"),
        ({"polish": {"passes": 1, "views": "crop"}}, "key 'polish.views': .*mean 'crops'"),
        ({"polish": {"passes": 1, "schedule": "step"}}, "key 'polish.schedule'"),
        ({"polish": {"passes": 1, "warmup": 1.0}}, "key 'polish.warmup'"),
        ({"polish": {"passes": 1, "temperature": 0}}, "key 'polish.temperature'"),
        (
            {"fold": {"name": "least_squares", "ridg": 1}},
            "unknown key 'fold.ridg'; did you mean 'ridge'",
        ),
    ],
)
def test_recipe_keys_are_checked(keys: dict[str, object], message: str) -> None:
    content = {
        "model": "digits",
        "members": ["a.safetensors", "b.safetensors"],
        "data": {"source": "sklearn:digits"},
    }
    with pytest.raises(SettingError, match=message):
        check({**content, **keys})


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
        "--views",
        "crops+mixed",
        "--temperature",
        "2",
        "--schedule",
        "cosine",
        "--warmup",
        "0.25",
        "--batchnorm",
        "reestimate",
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
    polished = report["polished"]
    assert polished["passes"] == 1
    assert (polished["views"], polished["temperature"]) == ("crops+mixed", 2.0)
    assert (polished["schedule"], polished["warmup"]) == ("cosine", 0.25)
    assert polished["batchnorm"] == "reestimate"
    assert "polish: estimated seconds" in (tmp_path / "f.html").read_text()
    assert "Least squares" in (tmp_path / "f.html").read_text()
    again = onefold("merge", tmp_path / "f.recipe.yaml", "-o", tmp_path / "g.safetensors")
    assert again.status == 0, again.err
    assert (tmp_path / "f.safetensors").read_bytes() == (tmp_path / "g.safetensors").read_bytes()
    assert "warning" not in again.err
