"""A recipe file runs the Python files that it names only if it is trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from onefold.errors import OutputError, RecipeError
from onefold.recipe import check, read, text_of

RUNS = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
import torch
from onefold.sources import build_model
def build(): return build_model("digits?width=4")
def load(split): return [torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
def labelled(split): return [(load(split)[0], torch.arange(64) % 10)]
"""
NAMED = {  # keys of a recipe that name the file
    "use": {"use": ["own.py"]},
    "a use with a checksum": {"use": [{"path": "./own.py"}]},
    "model": {"model": "own.py:build"},
    "data": {"data": "own.py:load"},
    "data and its options": {"data": {"source": "own.py:load", "samples": 64}},
    "evaluation": {"evaluation": {"source": "own.py:labelled"}},
}


@pytest.fixture
def recipe(members: list[Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe beside the file own.py, which leaves a trace once it is run."""
    (tmp_path / "own.py").write_text(RUNS)

    def write(**keys: object) -> Path:
        content = {
            "model": "digits?width=4",
            "members": [str(path) for path in members[:2]],
            "data": {"source": "sklearn:digits", "samples": 64},
            "output": "out.safetensors",
            **keys,
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "r.yaml"

    return write


@pytest.mark.parametrize("keys", NAMED.values(), ids=NAMED)
def test_a_recipe_that_runs_code_is_refused_unless_it_is_trusted(
    onefold: Callable, refused: Callable, recipe: Callable, tmp_path: Path, keys: dict
) -> None:
    path = recipe(**keys)
    assert f"The recipe {path} runs the code of " in (told := refused("merge", path))
    assert "own.py; read it, and give --trust" in told
    with pytest.raises(RecipeError, match="trust=True"):
        read(path)
    assert not (tmp_path / "ran").exists()
    assert onefold("merge", path, "--trust").status == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["merge", "soft", "subspace", "persist"])
def test_every_command_that_takes_a_recipe_asks(
    refused: Callable, tmp_path: Path, command: str
) -> None:
    (tmp_path / "own.py").write_text(RUNS)
    content = {"model": "own.py:build", "data": "own.py:labelled"}
    kinds = {"soft": {"soft": {}}, "subspace": {"subspace": {}}, "persist": {"rounds": {}}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**content, **kinds.get(command, {})}))
    told = refused(command, tmp_path / "r.yaml", "-o", tmp_path / "x.safetensors")
    assert "runs the code of own.py; read it, and give --trust" in told
    assert not (tmp_path / "ran").exists()


def test_what_the_user_types_is_trusted(
    onefold: Callable, recipe: Callable, members: list[Path], tmp_path: Path
) -> None:
    path = recipe()
    assert onefold("merge", path, "--use", tmp_path / "own.py").status == 0
    flags = ["--model", f"{tmp_path}/own.py:build", "--data", f"{tmp_path}/own.py:load"]
    done = onefold("merge", *members[:2], *flags, "-o", tmp_path / "typed.safetensors")
    assert done.status == 0, done.err
    assert "typed.recipe.yaml --trust -o" in (tmp_path / "typed.recipe.yaml").read_text()


def test_a_recipe_without_code_needs_no_trust(onefold: Callable, recipe: Callable) -> None:
    path = recipe()
    assert onefold("merge", path).status == 0
    assert "--trust" not in path.with_name("out.recipe.yaml").read_text()


def elsewhere(kind: str, folder: Path) -> str:
    """An output that a recipe in `folder` names, and that lies elsewhere."""
    if kind == "a link":
        (folder / "link").symlink_to(folder.parent, target_is_directory=True)
        return "link/x.safetensors"
    if kind == "a link of its name":
        (folder / "x.safetensors").symlink_to(folder.parent / "x.safetensors")
        return "x.safetensors"
    return {"above": "../x.safetensors", "absolute": os.fspath(folder.parent / "x.safetensors")}[
        kind
    ]


@pytest.mark.parametrize("kind", ["above", "absolute", "a link", "a link of its name"])
@pytest.mark.parametrize("key", ["output", "html"])
def test_a_recipe_writes_below_its_own_folder(
    onefold: Callable, refused: Callable, recipe: Callable, tmp_path: Path, kind: str, key: str
) -> None:
    path = recipe(**{key: elsewhere(kind, tmp_path)})
    assert "is not below its own folder; give the output with -o" in refused("merge", path)
    with pytest.raises(OutputError, match="is not below its own folder"):
        read(path, trust=True)
    done = onefold("merge", path, "-o", tmp_path / "mine.safetensors")
    assert done.status == 0, done.err
    assert not (tmp_path.parent / "x.safetensors").exists()


def test_the_head_of_a_recipe_says_that_it_needs_trust(tmp_path: Path) -> None:
    content = {"model": "nets.py:build", "members": ["a", "b"], "data": "sklearn:digits"}
    text = text_of(check(content, folder=tmp_path), tmp_path / "r.yaml")
    assert "onefold merge r.yaml --trust -o again.safetensors" in text
