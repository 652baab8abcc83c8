"""Random masks are seeded by the ends of paths, so that folders may move."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

import onefold
from onefold.checkpoints.plan.seeds import seed_names


def test_the_shortest_end_that_is_its_own() -> None:
    named = seed_names(["/a/one/model", "/a/two/model/", "base", r"C:\x\tuned", "org/name@main"])
    assert list(named.values()) == ["one/model", "two/model", "base", "tuned", "name@main"]


def test_paths_of_the_same_parts_keep_their_names() -> None:
    assert seed_names(["x/y", "./x/y", "z"]) == {"x/y": "x/y", "./x/y": "./x/y", "z": "z"}
    assert seed_names(["y", "x/y"]) == {"y": "y", "x/y": "x/y"}


@given(st.lists(st.text("ab/", min_size=1, max_size=6), max_size=6))
def test_names_are_distinct_and_do_not_depend_on_order(models: list[str]) -> None:
    named = seed_names(models)
    assert len(set(named.values())) == len(named) == len(set(models))
    assert seed_names(reversed(models)) == named


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5, unique=True))
def test_a_move_of_all_changes_no_name(models: list[str]) -> None:
    moved = seed_names([f"/other/place/{model}" for model in models])
    assert list(moved.values()) == list(seed_names(models).values())


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della"])
def test_moved_folders_give_the_same_bits(tmp_path: Path, method: str) -> None:
    def merged(folder: Path, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        paths = [str(folder / name) for name in names]
        listed: Any = [{"model": p, "parameters": {"weight": 0.5}} for p in paths[1:]]
        density = {"density": 0.5} | ({"epsilon": 0.1} if method == "della" else {})
        content = {
            "merge_method": method,
            "base_model": paths[0],
            "models": listed,
            "parameters": density,
        }
        out = folder / "out"
        return tiny.stored(onefold.merge_checkpoints(tiny.document(content), out).path)

    network = tiny.bert()
    for number, name in enumerate(("base", "code", "math", "maths")):
        tiny.write(tmp_path / "here" / name, network, min(number, 2), torch.bfloat16)
    here = merged(tmp_path / "here", ("base", "code", "math"))
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "deeper")
    shutil.rmtree(tmp_path / "there" / "deeper" / "out")
    there = merged(tmp_path / "there" / "deeper", ("base", "code", "math"))
    assert all(torch.equal(here[name], there[name]) for name in here)
    shutil.rmtree(tmp_path / "here" / "out")
    renamed = merged(tmp_path / "here", ("base", "code", "maths"))  # the same weights as math
    assert any(not torch.equal(here[name], renamed[name]) for name in here)
