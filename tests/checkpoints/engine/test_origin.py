"""A base that is not the origin of the models is told, with the figure, before the merge."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import onefold
from onefold.checkpoints.engine.origin import TENSORS, UnrelatedBase, origins_of
from onefold.checkpoints.layouts import read_layout
from onefold.checkpoints.plan.planning import plan_merge


def base_and(tmp_path: Path, *distances: float, torch_file: bool = False) -> list[str]:
    """A base, and models whose matrices lie these lengths away from it."""
    base = tiny.write(tmp_path / "base", tiny.bert(), 0)
    state, found = tiny.stored(base), [str(base)]
    for number, distance in enumerate(distances):
        folder = tmp_path / "abc"[number]
        folder.mkdir()
        generator = torch.Generator().manual_seed(7 + number)
        moved = {
            name: tensor
            + distance
            * tensor.square().mean().sqrt()
            * torch.randn(tensor.shape, generator=generator)
            for name, tensor in state.items()
        }
        if torch_file:
            torch.save(moved, folder / "pytorch_model.bin")
        else:
            save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
        found.append(str(folder))
    return found


def document(paths: list[str], method: str = "task_arithmetic") -> Any:
    listed = [{"model": path, "parameters": {"weight": 0.5}} for path in paths[1:]]
    content = {"merge_method": method, "base_model": paths[0], "models": listed}
    return tiny.document(content)


def test_a_model_of_another_origin_is_told_with_the_figure(tmp_path: Path) -> None:
    paths = base_and(tmp_path, 0.97, 0.03)
    with pytest.warns(UnrelatedBase, match="does not stem from this base") as told:
        made = onefold.merge_checkpoints(document(paths, "ties"), tmp_path / "out")
    (sentence,) = [str(one.message) for one in told]
    assert sentence in made.warned
    assert made.task_vectors[paths[1]] == pytest.approx(0.97, rel=0.05)
    assert made.task_vectors[paths[2]] == pytest.approx(0.03, rel=0.05)
    figure = f"{made.task_vectors[paths[1]]:.2f} times as long"
    assert figure in sentence
    assert figure in str(made)
    assert figure in (made.path / "README.md").read_text()
    assert f"{made.task_vectors[paths[2]]:.3f} of " in (made.path / "README.md").read_text()
    record = json.loads((made.path / "onefold_merge.json").read_text())
    assert record["task_vectors"] == made.task_vectors
    assert any(figure in one for one in record["decided"])


@pytest.mark.parametrize("torch_file", [False, True])
def test_fine_tunes_give_no_warning_and_equal_ones_give_one(
    tmp_path: Path, torch_file: bool
) -> None:
    paths = base_and(tmp_path, 0.1, 0.0, torch_file=torch_file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = onefold.merge_checkpoints(document(paths[:2]), tmp_path / "out", dry_run=True)
    assert not made.warned
    with pytest.warns(UnrelatedBase, match=r"b equals its base .* leave it out"):
        made = onefold.merge_checkpoints(document(paths), tmp_path / "out", dry_run=True)
    assert made.task_vectors[paths[2]] == 0


def test_a_model_that_differs_in_one_small_tensor_is_not_called_equal(tmp_path: Path) -> None:
    paths = base_and(tmp_path, 0.0)
    file = Path(paths[1]) / "model.safetensors"
    state = tiny.stored(Path(paths[1]))
    state["classifier.bias"] += 1
    save_file(state, file, metadata={"format": "pt"})
    made = onefold.merge_checkpoints(document(paths), tmp_path / "out", dry_run=True)
    assert made.task_vectors[paths[1]] == 0
    assert not made.warned


def test_without_a_base_nothing_is_measured(tmp_path: Path) -> None:
    paths = base_and(tmp_path, 0.97)
    listed = [{"model": path, "parameters": {"weight": 0.5}} for path in paths]
    linear = tiny.document({"merge_method": "linear", "models": listed})
    made = onefold.merge_checkpoints(linear, tmp_path / "out", dry_run=True)
    assert made.task_vectors == {}


@settings(deadline=None, max_examples=10)
@given(
    distance=st.floats(0.01, 3.0),
    seed=st.integers(0, 99),
    matrices=st.sampled_from([1, 5, 128, 129, 300]),
)
def test_the_length_is_that_of_the_vectors(
    tmp_path_factory: pytest.TempPathFactory, distance: float, seed: int, matrices: int
) -> None:
    folder = tmp_path_factory.mktemp("made")
    generator = torch.Generator().manual_seed(seed)
    base = {f"layers.{i}.w": torch.randn(16, 16, generator=generator) for i in range(matrices)}
    own = {n: t + distance * torch.randn(t.shape, generator=generator) for n, t in base.items()}
    paths = []
    for name, state in (("base", base), ("own", own)):
        paths.append(str(folder / f"{name}.safetensors"))
        save_file({**state, "norm": torch.full((4,), float(len(paths)))}, paths[-1])
    given_ = document(paths)
    layouts = {model: read_layout(Path(str(model))) for model in given_.models()}
    origins = origins_of(plan_merge(given_, layouts, 10**9).jobs)
    sample = sorted(base)[:: -(-matrices // TENSORS)]
    changed = sum((own[n] - base[n]).double().square().sum() for n in sample)
    whole = sum(base[n].double().square().sum() for n in sample)
    assert origins.lengths[paths[1]] == pytest.approx(float((changed / whole).sqrt()), rel=1e-6)
    assert bool(origins.warned) is (origins.lengths[paths[1]] >= 0.5)


def test_the_command_warns_once_and_imports_no_torch_for_it(tmp_path: Path) -> None:
    paths = base_and(tmp_path, 0.97)
    code = (
        "import sys\nfrom onefold.__main__ import main\n"
        f"sys.argv = ['onefold', 'merge', {paths[1]!r}, '--method', 'task_arithmetic', '--base',"
        f" {paths[0]!r}, '--weight', '1', '-o', {str(tmp_path / 'out')!r}, '--dry-run']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stderr.count("does not stem from this base") == 1
    assert "warning: The task vector" in run.stderr
