"""The code of the guides on gates and on bad members runs and does what the pages say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from doc_pages import pattern_images
from guide_pages import commands, damaged, run_page, trained, write_demo
from torch.utils.data import DataLoader

import onefold as of


@pytest.fixture(scope="module")
def images() -> tuple[DataLoader, DataLoader]:
    return pattern_images()


def test_the_guide_on_gates(
    root: Path,
    images: tuple[DataLoader, DataLoader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    loader, labelled = images
    models = [trained(loader, k, without=(2 * k, 2 * k + 1)) for k in range(3)]
    names = run_page(root, "guides/gates.md", {"models": models, "labelled": labelled})
    best = max(of.evaluate(model, labelled).accuracy for model in models)
    assert of.evaluate(names["result"].model, labelled).accuracy > best
    assert of.evaluate(names["network"], labelled).accuracy > best
    assert (tmp_path / "gated.safetensors").exists()


def test_the_guide_on_bad_members(
    root: Path, images: tuple[DataLoader, DataLoader], capsys: pytest.CaptureFixture[str]
) -> None:
    loader, labelled = images
    models = [trained(loader, k, without=(2 * k, 2 * k + 1)) for k in range(2)]
    models += [damaged(trained(loader, 2), kind) for kind in ("nan", "random")]
    names = run_page(
        root,
        "guides/bad_members.md",
        {"models": models, "labelled": labelled, "data": [x for x, _ in loader]},
    )
    assert names["good"] == models[:2]
    said = capsys.readouterr().out
    assert "member 2 is broken: NaN" in said  # by compare_networks
    assert "member 2 is not finite: 'first.weight'" in said  # by merge
    assert set(names["soft"].dropped) == {2, 3}


@pytest.mark.parametrize("page", ["gates", "bad_members"])
def test_the_commands(
    page: str, root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo(tmp_path)
    ((program, *command),) = commands(root, f"guides/{page}.md")
    assert program == "onefold"
    done = onefold(*command)
    assert done.status == 0, done.err
    if page == "gates":
        assert {"gated.html", "gated.safetensors", "gated.recipe.yaml"} <= {
            path.name for path in tmp_path.iterdir()
        }
