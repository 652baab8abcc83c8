"""`onefold soft`: every level end to end, bad members named, the same recipe the same bits, bad
input in one sentence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import onefold as of
from onefold.demo.train import train
from onefold.fold.saved import load_networks
from onefold.recipe.reading import read_as
from onefold.recipe.soft.document import SoftRecipe
from onefold.sources import ImageBatches, build_data, build_model

MODEL = "digits?width=4"
DATA = ["--model", MODEL, "--data", "sklearn:digits", "--samples", "300", "--steps", "40"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three trained checkpoints, and one that is NaN throughout."""
    folder = tmp_path_factory.mktemp("trained")
    paths = [folder / f"m{k}.safetensors" for k in range(4)]
    for seed, path in enumerate(paths[:3]):
        torch.manual_seed(seed)
        model = build_model(MODEL)
        data = build_data("sklearn:digits", skip=400, batch_size=50, shuffle=True, seed=seed)
        assert isinstance(data, ImageBatches)
        train(model, data, epochs=4)
        of.save(model, path)
    state = {
        k: torch.full_like(v, torch.nan) if v.is_floating_point() else v
        for k, v in build_model(MODEL).state_dict().items()
    }
    save_file(state, paths[3])
    return paths


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("level", ["model", "module", "layer"])
def test_every_level_writes_a_network_that_a_recipe_makes_again(
    onefold: Callable, refused: Callable, trained: list[Path], tmp_path: Path, level: str
) -> None:
    path = tmp_path / "s.safetensors"
    scored = ["--eval-split", "test", "--report", tmp_path / "s.html", "--no-fallback"]
    result = onefold("soft", *trained, *DATA, "--level", level, *scored, "-o", path)
    assert result.status == 0, result.err
    assert "member 3: screened out: its outputs are not finite" in result.out
    assert "The soft merge: " in result.out
    assert {p.name for p in tmp_path.iterdir()} == {
        "s.safetensors",
        "s.recipe.yaml",
        "s.report.json",
        "s.html",
    }
    report = json.loads((tmp_path / "s.report.json").read_text())
    assert all(row[3] == 0.0 for row in report["data"]["soft"]["gates"]["gates"])
    assert "How much of each part comes from which member" in (tmp_path / "s.html").read_text()
    recipe = read_as(SoftRecipe, tmp_path / "s.recipe.yaml")
    assert recipe.record is not None
    assert recipe.record.result_sha256 == sha(path)
    again = onefold("soft", tmp_path / "s.recipe.yaml", "-o", tmp_path / "again.safetensors")
    assert again.status == 0, again.err
    assert "other bits" not in again.err
    assert sha(tmp_path / "again.safetensors") == sha(path)

    (network,), _ = load_networks(MODEL, [str(path)], several=True)
    expected = report["data"]["scores"]["soft merge"]["accuracy"]
    assert of.evaluate(network, build_data("sklearn:digits", split="test")).accuracy == expected
    evaluated = onefold("eval", path, "--model", MODEL, "--data", "sklearn:digits", "--json")
    assert json.loads(evaluated.out)["members"][0]["accuracy"] == expected
    if level == "model":
        told = refused(
            "merge",
            path,
            trained[0],
            "--model",
            MODEL,
            "--data",
            "sklearn:digits",
            "-o",
            tmp_path / "x.safetensors",
        )
        assert "is a mixture of several networks, which cannot be folded" in told


def test_a_layer_level_result_is_a_plain_checkpoint_of_the_architecture(
    onefold: Callable, trained: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "s.safetensors"
    result = onefold(
        "soft",
        *trained[:3],
        *DATA,
        "--include",
        "conv*",
        "--align",
        "permutation",
        "--held-out",
        "100",
        "-o",
        path,
    )
    assert result.status == 0, result.err
    build_model(MODEL).load_state_dict(of.load(path))
    assert "On 100 held-out examples" in result.out


def test_recipes_are_for_their_own_command(
    onefold: Callable, refused: Callable, trained: list[Path], tmp_path: Path
) -> None:
    assert (
        onefold(
            "soft", *trained[:2], *DATA, "--level", "model", "-o", tmp_path / "s.safetensors"
        ).status
        == 0
    )
    wrong = refused("merge", tmp_path / "s.recipe.yaml", "-o", tmp_path / "x.safetensors")
    assert "is one of onefold soft; run: onefold soft" in wrong
    text = (tmp_path / "s.recipe.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("  penalty:", "  penalti:"))
    misspelt = refused("soft", tmp_path / "bad.yaml", "-o", tmp_path / "x.safetensors")
    assert "unknown key 'soft.penalti'; did you mean 'penalty'?" in misspelt
    (tmp_path / "other.yaml").write_text(text.replace("skip: 0", "skip: 1", 1))
    assert "gives other batches than the recipe was made with" in refused(
        "soft", tmp_path / "other.yaml", "-o", tmp_path / "x.safetensors"
    )
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--level", "modul"], "--level: "),
        (["--level", "model", "--include", "conv1"], "at --level model there are none"),
        (
            ["--include", "cnv1"],
            (
                "The pattern 'cnv1' of `include` matches no part of the network that can be chosen;"
                " did you mean 'conv1'?"
            ),
        ),
        (["--align", "ccca"], "There is no alignment 'ccca'; did you mean 'cca'?"),
        (["--reference", "seven"], "--reference: it must be a whole number or it must be 'best'"),
        (["--reference", "9"], "--reference is 9, but there are only 2 members"),
        (["--steps", "0"], "--steps: "),
        (["--outputs", "logit"], "--outputs: "),
        (["--device", "tpu9"], "There is no device 'tpu9'"),
    ],
)
def test_bad_flags_are_answered_in_one_sentence(
    refused: Callable, trained: list[Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = refused("soft", *trained[:2], *DATA, *arguments, "-o", tmp_path / "s.safetensors")
    assert message in result
    assert list(tmp_path.iterdir()) == []


def test_one_member_and_members_that_are_all_unfit(
    refused: Callable, trained: list[Path], tmp_path: Path
) -> None:
    one = refused("soft", trained[0], *DATA, "-o", tmp_path / "s.safetensors")
    assert "it needs at least 2 entries" in one
    none = refused("soft", trained[3], trained[3], *DATA, "-o", tmp_path / "s.safetensors")
    assert (
        "No member is left to merge (member 0: its outputs are not finite; member 1: its outputs"
        " are not finite)" in none
    )
    assert list(tmp_path.iterdir()) == []


def test_data_without_labels_or_with_labels_of_another_task(
    refused: Callable, trained: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "data.py").write_text(
        "import torch\n"
        "def bare(split):\n    return [torch.zeros(8, 1, 8, 8)]\n"
        "def other(split):\n    return [(torch.zeros(8, 1, 8, 8), torch.arange(8) + 90)]\n"
    )
    for name, message in (
        ("bare", "has no labels"),
        ("other", "but the network has 10 classes, numbered 0 to 9"),
    ):
        source = f"{tmp_path / 'data.py'}:{name}"
        result = refused(
            "soft",
            *trained[:2],
            "--model",
            MODEL,
            "--data",
            source,
            "-o",
            tmp_path / "s.safetensors",
        )
        assert message in result
    assert not (tmp_path / "s.safetensors").exists()
