"""`onefold merge --until`: a partial merge in a file, with its recipe, which `onefold eval` scores
and no merge takes for one network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import onefold as of
from onefold.fold import load_partial
from onefold.fold.partial.splitting import share_of
from onefold.sources import build_data, build_model

DATA = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "300"]


@pytest.mark.parametrize("until", ["norm1", "60%"])
def test_written_scored_read_again_and_made_again(
    onefold: Callable, refused: Callable, members: list[Path], tmp_path: Path, until: str
) -> None:
    scoring = [
        "--align",
        "permutation",
        "--eval-split",
        "test",
        "--eval-samples",
        "200",
        "--report",
        tmp_path / "f.html",
    ]
    result = onefold(
        "merge", *members, *DATA, "--until", until, *scoring, "-o", tmp_path / "f.safetensors"
    )
    assert result.status == 0, result.err
    place = "norm1" if until == "norm1" else "norm2"
    assert f"merged up to '{place}'" in result.out.replace("\n", " ")
    report = json.loads((tmp_path / "f.report.json").read_text())["data"]
    assert report["merge"]["folded"]["partial"]["until"] == place
    made = load_partial(tmp_path / "f.safetensors", build_model("digits?width=4"))
    scores = of.evaluate(
        made, build_data("sklearn:digits", split="test", limit=200, batch_size=128)
    )
    assert scores.accuracy == pytest.approx(report["scores"]["folded"]["accuracy"])
    scored = onefold("eval", tmp_path / "f.safetensors", members[0], *DATA, "--json")
    assert scored.status == 0, scored.err
    again = tmp_path / "again.safetensors"
    assert onefold("merge", tmp_path / "f.recipe.yaml", "-o", again).status == 0
    assert again.read_bytes() == (tmp_path / "f.safetensors").read_bytes()
    told = refused(
        "merge", tmp_path / "f.safetensors", members[0], *DATA, "-o", tmp_path / "g.safetensors"
    )
    assert "is a partial merge of several networks, which cannot be folded" in told


def test_one_sentence_for_what_cannot_be(
    refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    def error(*flags: str) -> str:
        result = refused("merge", *members, *DATA, *flags, "-o", tmp_path / "f.safetensors")
        assert list(tmp_path.iterdir()) == []
        return result

    assert "has no module 'norm7'" in error("--until", "norm7")
    assert "would be parted from its batch norm" in error("--until", "conv1")
    assert "give a module's name, or a share of the layers" in error("--until", "most%")
    assert "give a module's name, or a share of the layers between 0% and 100%" in error(
        "--until", "100%"
    )
    assert "takes no --polish" in error("--until", "norm1", "--polish", "1")
    assert "no --ensemble" in error(
        "--until", "norm1", "--fold", "least_squares", "--ensemble", "probabilities"
    )
    assert share_of("62.5%") == 0.625


def test_a_damaged_description_is_refused(
    refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    of.save(of.load(members[0]), tmp_path / "f.safetensors", metadata={"onefold.partial": "[1"})
    result = refused("eval", tmp_path / "f.safetensors", *DATA)
    assert "not one of this architecture" in result
    assert yaml.safe_load("until: 50%") == {"until": "50%"}  # no quotes are needed in a recipe
