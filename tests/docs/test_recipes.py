"""The commands, the recipe and the code of the guide on recipes do what the page says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from doc_pages import pattern_images
from guide_pages import blocks, commands, run_page, trained, write_demo

import onefold as of

PAGE = "guides/recipes.md"


def test_the_guide_on_recipes(
    root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo(tmp_path)
    (text,) = blocks(root, PAGE, "yaml")
    Path("mine.yaml").write_text(text)
    for _, *command in commands(root, PAGE):
        done = onefold(*command)
        assert done.status == 0, done.err
    assert Path("again.safetensors").read_bytes() == Path("folded.safetensors").read_bytes()
    assert Path("mine.safetensors").exists()
    loader, _ = pattern_images()
    models = [trained(loader, k) for k in range(2)]
    data = [x for x, _ in loader]
    names = run_page(root, PAGE, {"models": models, "data": data})
    before = torch.get_rng_state()
    of.merge(models, data, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert names["recipe"].model == "digits?width=16"
    Path("mine.yaml").write_text(text.replace("repair:", "repiar:"))
    refused = onefold("merge", "mine.yaml", "--force")
    assert refused.status != 0
    assert "repiar" in refused.err
    assert "repair" in refused.err
    Path("onefold-demo/member-0.safetensors").write_bytes(
        Path("onefold-demo/member-1.safetensors").read_bytes()
    )
    refused = onefold("merge", "folded.recipe.yaml", "-o", "other.safetensors")
    assert refused.status != 0
    assert "get the original file" in refused.err
