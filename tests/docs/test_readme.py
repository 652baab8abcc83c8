"""What the README shows runs, and the packages are as docs/architecture.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_examples_run(root: Path, tmp_path: Path) -> None:
    """One after the other, as the later ones use names of the first."""
    example = "\n".join(blocks((root / "README.md").read_text(), "python"))
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "groups" in done.stdout
    assert (tmp_path / "folded.safetensors").exists()


def test_the_shell_example_runs(
    root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On members like the demo's, but hardly trained."""
    import shlex

    import torch

    import onefold as of
    from onefold.demo.train import train
    from onefold.sources import ImageBatches, build_data, build_model

    monkeypatch.chdir(tmp_path)
    (tmp_path / "onefold-demo").mkdir()
    for k in range(3):
        torch.manual_seed(k)
        model = build_model("digits?width=16")
        data = build_data("sklearn:digits", limit=300, batch_size=50)
        assert isinstance(data, ImageBatches)
        train(model, data, epochs=2)
        of.save(model, tmp_path / "onefold-demo" / f"member-{k}.safetensors")
    example = "".join(blocks((root / "README.md").read_text(), "sh")[-4:])
    commands = [shlex.split(line) for line in example.replace("\\\n", " ").splitlines()]
    assert [command[1] for command in commands] == [
        "eval",
        "merge",
        "merge",
        "merge",
        "soft",
        "subspace",
        "persist",
    ]
    for command in commands:
        result = onefold(*command[1:])
        assert result.status == 0, result.err
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "folded.safetensors"
    ).read_bytes()
    assert (tmp_path / "folded.html").exists()
    assert (tmp_path / "solved.safetensors").exists()
    assert (tmp_path / "gated.safetensors").exists()
    assert (tmp_path / "simplex" / "midpoint.safetensors").exists()
    assert (tmp_path / "rounds" / "best.safetensors").exists()


def test_the_demo_makes_the_networks_that_the_readme_names(root: Path) -> None:
    from onefold.demo.run import MODEL, TRAINING

    assert f'--model "{MODEL}"' in (root / "README.md").read_text()
    assert f"--skip {TRAINING}" in (root / "README.md").read_text()


def test_the_two_commands_stand_in_the_readme_and_ci_reads_them_there(root: Path) -> None:
    lines = (root / "README.md").read_text().splitlines()
    assert 'pip install -c constraints.txt -e ".[demo]" && onefold demo' in lines
    assert 'pip install -c constraints.txt -e ".[test]" && pytest' in lines
    assert "onefold demo" not in (root / ".ci" / "run").read_text()


def test_the_methods_of_the_readme_exist(root: Path, onefold: Callable) -> None:
    onefold("methods")
    from onefold.alignment import feature_matchers
    from onefold.fold import folds
    from onefold.fold.plan import REPAIRS

    known = {
        "align": {*feature_matchers.names(), "none"},
        "fold": set(folds.names()),
        "repair": set(REPAIRS),
    }
    rows = re.findall(
        r"^\| (align|fold|repair) `(\w+)`", (root / "README.md").read_text(), flags=re.MULTILINE
    )
    assert len(rows) >= 5
    assert [row for row in rows if row[1] not in known[row[0]]] == []


def test_the_contributing_guides_matcher_works(root: Path) -> None:
    import torch

    import onefold as of
    from onefold.alignment import feature_matchers
    from onefold.sources import build_model

    (example,) = blocks((root / "CONTRIBUTING.md").read_text(), "python")
    try:
        exec(
            compile(example, "CONTRIBUTING.md", "exec", dont_inherit=True), {"__name__": "example"}
        )
        models = [build_model("digits?width=4").eval() for _ in range(2)]
        x = torch.randn(64, 1, 8, 8)
        mapped = of.align(models, [x], method="reverse").apply(models)
        assert torch.allclose(mapped[1](x), models[1](x), atol=1e-4)
        assert torch.equal(
            mapped[1].state_dict()["conv3.bias"], models[1].state_dict()["conv3.bias"].flip(0)
        )
    finally:
        feature_matchers.unregister("reverse")


def test_the_architecture_names_every_package_and_only_files_that_exist(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text()
    package = root / "src" / "onefold"
    described = {
        name
        for first in re.findall(r"^\| (`[^|]+) \|", page, flags=re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", first)
    }
    there = {
        path.name
        for path in package.iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    }
    assert described == there - {"__init__.py"}
    named = re.findall(r"`((?:\w+/)+\w+(?:\.py)?)`", page)
    assert len(named) > 15
    skipped = {"onefold/__init__.py", "src/onefold"}
    assert [path for path in named if path not in skipped and not (package / path).exists()] == []


def test_every_requirement_is_pinned(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    listed = text.split("\ndependencies = [")[1].split("\n[project.scripts]")[0]
    wanted = {
        name.lower().replace("_", "-")
        for name in re.findall(r'"([A-Za-z][\w-]*)(?:[><=][^"]*)?"', listed)
    }
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert {"torch", "pytest", "rich"} <= wanted
    assert wanted - pinned == set()
    assert not any("+" in line for line in lines)
