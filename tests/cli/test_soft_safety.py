"""`onefold soft` where something is amiss: broken members, other labels, wrong flags, kills; and
mixtures read back from their files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from killed_commands import kill_at_random
from safetensors import safe_open
from torch import Tensor

import onefold as of
from onefold.demo.train import train
from onefold.fold.saved import load_networks
from onefold.fold.soft import Mixture
from onefold.fold.soft.saved import describe
from onefold.recipe.reading import read_as
from onefold.recipe.soft.document import SoftRecipe
from onefold.sources import ImageBatches, build_data, build_model

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--skip", "900", "--samples", "200"]
QUICK = ["--steps", "20"]
SCORED = ["--eval-split", "test", "--eval-samples", "200"]
LEVELS = ("model", "module", "layer")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def inputs() -> Tensor:
    return next(iter(build_data("sklearn:digits", split="test", limit=50)))[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints of `digits?width=4`, trained for a few seconds from seeds of their own, on
    images that gates never see.
    """
    folder = tmp_path_factory.mktemp("trained")
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = build_model("digits?width=4")
        data = build_data("sklearn:digits", limit=800, shuffle=True, seed=seed, batch_size=64)
        assert isinstance(data, ImageBatches)
        train(network, data, epochs=10)
        paths.append(folder / f"t{seed}.safetensors")
        of.save(network, paths[-1])
    return paths


@pytest.fixture(scope="module")
def broken(trained: list[Path]) -> Path:
    """The last member with a NaN in its first layer."""
    state = of.load(trained[2])
    state["conv1.weight"][0] = float("nan")
    path = trained[2].with_name("nan.safetensors")
    of.save(state, path, check_finite=False)
    return path


@pytest.fixture
def soft(onefold: Callable, tmp_path: Path) -> Callable[..., Any]:
    """Run `onefold soft` on members, quickly, into s.safetensors; fails unless it succeeds."""

    def call(*arguments: Any, output: str = "s.safetensors") -> Any:
        result = onefold("soft", *arguments, *MODEL, *DATA, *QUICK, "-o", tmp_path / output)
        assert result.status == 0, result.err
        return result

    return call


@pytest.fixture
def refuses(refused: Callable, trained: list[Path], tmp_path: Path) -> Callable[..., str]:
    """The one line with which `onefold soft` answers, once it is sure that nothing was written."""

    def call(
        *arguments: Any, members: list[Path] | None = None, data: list[str] | None = None
    ) -> str:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        flags = [*MODEL, *(DATA if data is None else data), *QUICK]
        files = trained if members is None else members
        told: str = refused("soft", *files, *flags, *arguments, "-o", out / "s.safetensors")
        assert list(out.iterdir()) == []
        return told

    return call


@pytest.mark.parametrize("level", ["model", "module"])
def test_a_mixture_is_built_again_bit_for_bit_and_scored(
    onefold: Callable, refused: Callable, trained: list[Path], tmp_path: Path, level: str
) -> None:
    members, _ = load_networks("digits?width=4", [str(path) for path in trained])
    mixture = of.SoftMerge(members, level=level, align="none", reference=1).harden()
    path = tmp_path / "s.safetensors"
    of.save(mixture, path, metadata=describe(mixture))
    assert ("" in json.loads(metadata(path)["onefold.mixture"])) == (level == "model")
    (network,), _ = load_networks("digits?width=4", [str(path)], several=True)
    assert (
        sum(isinstance(module, Mixture) for module in network.modules())
        == sum(isinstance(module, Mixture) for module in mixture.modules())
        > 0
    )
    assert not any(module.training for module in network.modules())
    with torch.no_grad():
        assert torch.equal(network(inputs()), mixture(inputs()))

    result = onefold(
        "eval", path, trained[0], *MODEL, "--data", "sklearn:digits", "--samples", "200", "--json"
    )
    assert result.status == 0, result.err
    accuracy = of.evaluate(mixture, build_data("sklearn:digits", split="test", limit=200)).accuracy
    assert json.loads(result.out)["members"][0]["accuracy"] == accuracy
    alone = onefold("eval", path, *MODEL, "--data", "sklearn:digits", "--samples", "200")
    both = onefold("eval", path, trained[0], *MODEL, "--data", "sklearn:digits", "--samples", "200")
    rows = [
        line
        for result in (alone, both)
        for line in result.out.splitlines()
        if re.match(r"\W*\S+safetensors\b.*\d\.\d{4}", line)
    ]
    costs = [re.findall(r"\b\d\.\d\d\b", line)[-1] for line in rows]
    assert costs == ["3.00", "3.00", "1.00"]
    for command in (
        ["merge", "-o", tmp_path / "f.safetensors"],
        ["soft", "-o", tmp_path / "f.safetensors"],
        ["align"],
    ):
        told = refused(command[0], path, trained[0], *MODEL, *DATA, *command[1:])
        assert told.startswith(f"{path} is a mixture of several networks")
    assert names(tmp_path) == {"s.safetensors"}


@pytest.mark.parametrize("level", LEVELS)
def test_a_member_of_nan_is_left_out_and_named(
    soft: Callable, trained: list[Path], broken: Path, tmp_path: Path, level: str
) -> None:
    result = soft(*trained[:2], broken, "--level", level, *SCORED, "--report", tmp_path / "s.html")
    assert "member 2: screened out: its outputs are not finite" in result.out
    assert all(
        bool(value.isfinite().all()) for value in of.load(tmp_path / "s.safetensors").values()
    )
    report = json.loads((tmp_path / "s.report.json").read_text())
    assert report["data"]["scores"]["member 2"]["nonfinite"] == 200
    whole, left = (
        report["data"]["scores"]["ensemble of 3"],
        report["data"]["scores"]["ensemble of 2"],
    )
    assert (whole["accuracy"], whole["nonfinite"], left["nonfinite"]) == (0, 200, 0)
    assert (
        "the ensemble of the 2 members left" in report["summary"]
    )  # and not the one that the NaN has spoilt
    assert "plain average" in report["summary"]
    assert all(row[2] == 0 for row in report["data"]["soft"]["gates"]["gates"])
    assert "screened out: its outputs are not finite" in (tmp_path / "s.html").read_text()


def test_a_recipe_written_by_hand_does_what_the_flags_do(
    onefold: Callable, soft: Callable, trained: list[Path], tmp_path: Path
) -> None:
    soft(*trained, "--exclude", "head")
    content = {
        "model": "digits?width=4",
        "members": [os.path.relpath(path, tmp_path) for path in trained],
        "data": {"source": "sklearn:digits", "skip": 900, "samples": 200},
        "soft": {"exclude": "head", "steps": 20},
        "output": "h.safetensors",
    }
    (tmp_path / "h.yaml").write_text(yaml.safe_dump(content))
    assert onefold("soft", tmp_path / "h.yaml").status == 0
    assert sha(tmp_path / "h.safetensors") == sha(tmp_path / "s.safetensors")


LABELLED = """
import torch
def make(split):
    g = torch.Generator().manual_seed(0)
    labels = (torch.arange(60) + {shift}) % 10 + {base}
    return [(torch.randn(60, 1, 8, 8, generator=g), labels) for _ in range(3)]
"""


def source(folder: Path, shift: int = 0, base: int = 0) -> list[str]:
    """Data of our own: noise, with labels that begin at `base`."""
    (folder / "data.py").write_text(LABELLED.format(shift=shift, base=base))
    return ["--data", f"{folder}/data.py:make"]


@pytest.mark.parametrize("part", ["data", "held_out"])
def test_other_labels_are_noticed(
    onefold: Callable, refused: Callable, trained: list[Path], tmp_path: Path, part: str
) -> None:
    own = {"source": source(tmp_path)[1], "samples": None}
    content = {
        "model": "digits?width=4",
        "members": [str(path) for path in trained[:2]],
        "data": {"source": "sklearn:digits", "skip": 900, "samples": 200},
        "soft": {"steps": 2, "screen": False, "level": "model"},
        "output": str(tmp_path / "s.safetensors"),
        part: own,
    }
    (tmp_path / "h.yaml").write_text(yaml.safe_dump(content))
    result = onefold("soft", tmp_path / "h.yaml", "--trust")
    assert result.status == 0, result.err
    source(tmp_path, shift=1)
    told = refused(
        "soft", tmp_path / "s.recipe.yaml", "--trust", "-o", tmp_path / "again.safetensors"
    )
    assert "gives other batches than the recipe was made with" in told


def test_a_recipe_takes_no_other_flags(
    refused: Callable, soft: Callable, trained: list[Path], tmp_path: Path
) -> None:
    soft(*trained[:2])
    result = refused(
        "soft", tmp_path / "s.recipe.yaml", "--level", "model", "-o", tmp_path / "x.safetensors"
    )
    assert "A recipe says everything, so it takes no" in result


def test_outputs_are_not_overwritten_without_force(
    onefold: Callable, refused: Callable, soft: Callable, trained: list[Path], tmp_path: Path
) -> None:
    soft(*trained[:2])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    call = [
        "soft",
        *trained[:2],
        *MODEL,
        *DATA,
        *QUICK,
        "--level",
        "model",
        "-o",
        tmp_path / "s.safetensors",
    ]
    assert "s.safetensors exists already; choose another name, or give --force" in refused(*call)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert onefold(*call, "--force").status == 0
    assert read_as(SoftRecipe, tmp_path / "s.recipe.yaml").soft.level == "model"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--exclude", "haed"],
        ["--level", "module", "--include", "conv9"],
        ["--align", "x"],
        ["--model", "digit"],
    ],
)
def test_what_is_cheap_to_check_is_checked_before_members_are_read(
    refused: Callable, trained: list[Path], tmp_path: Path, arguments: list[str]
) -> None:
    refused(
        "soft",
        *trained,
        *MODEL,
        *DATA,
        *arguments,
        "-o",
        tmp_path / "s.safetensors",
        before="Reading",
    )


def test_members_that_will_not_do(
    refuses: Callable, trained: list[Path], broken: Path, tmp_path: Path
) -> None:
    assert "needs at least 2 entries" in refuses(members=trained[:1])
    twin = tmp_path / "nan2.safetensors"
    twin.write_bytes(broken.read_bytes())
    assert "No member is left to merge (member 0: its outputs are not finite" in refuses(
        members=[broken, twin]
    )
    assert "none.safetensors cannot be read" in refuses(
        members=[trained[0], tmp_path / "none.safetensors"]
    )


def test_data_that_will_not_do(refuses: Callable, tmp_path: Path) -> None:
    assert "The labels range from 5 to 14, but the network has 10 classes" in refuses(
        data=source(tmp_path, base=5)
    )
    (tmp_path / "data.py").write_text(
        "import torch\ndef make(split):\n    return [torch.randn(60, 1, 8, 8)]\n"
    )
    told = refuses(data=["--data", f"{tmp_path}/data.py:make"])
    assert "has no labels" in told
    assert "score" not in told  # they are learned from
    assert "no data source named 'sklearn:digit'; did you mean 'sklearn:digits'" in refuses(
        data=["--data", "sklearn:digit"]
    )


def test_a_soft_merge_needs_a_model_data_and_an_output(
    refused: Callable, trained: list[Path], tmp_path: Path
) -> None:
    output = ["-o", tmp_path / "s.safetensors"]
    assert "The soft merge needs --model" in refused("soft", *trained, *DATA, *output)
    assert "The soft merge needs --data" in refused("soft", *trained, *MODEL, *output)
    assert "The soft merge needs --output" in refused("soft", *trained, *MODEL, *DATA)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_leaves_nothing_or_everything(
    trained: list[Path], tmp_path: Path
) -> None:
    call = ["soft", *map(str, trained[:2]), *MODEL, *DATA, "--steps", "3", "--level", "model"]
    kill_at_random(call, "s", tmp_path, attempts=8)
