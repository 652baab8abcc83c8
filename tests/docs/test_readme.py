"""What the README shows runs, and the packages are as docs/architecture.md says."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guide_pages import write_demo


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_is_short(root: Path) -> None:
    lines = (root / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []
    (example,) = blocks("\n".join(lines), "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 25
    (table,) = re.findall(r"\n((?:\|.*\n)+)", "\n".join(lines))
    assert len(table.splitlines()) - 2 <= 10


def test_everything_that_the_readme_links_is_there(root: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (root / "README.md").read_text())
    assert len(links) > 15
    assert [link for link in links if not (root / link).exists()] == []


def test_the_names_of_the_readme_exist(root: Path) -> None:
    import onefold as of

    names = set(re.findall(r"onefold\.([A-Za-z]\w*)\(", (root / "README.md").read_text()))
    assert {"merge", "SoftMerge", "fit_gates", "compare_networks"} <= names
    assert names - set(of.__all__) == set()


def test_the_lines_of_the_table_can_be_called_so(root: Path) -> None:
    """Every call with the arguments that its line gives."""
    import onefold as of

    rows = re.findall(r"^\| [^|]+ \| `([^`]+)`", (root / "README.md").read_text(), re.MULTILINE)
    calls = [row for row in rows if row.startswith("onefold.")]
    assert len(calls) > 4
    for line in calls:
        for node in ast.walk(ast.parse(line)):
            if isinstance(node, ast.Call):
                assert isinstance(node.func, ast.Attribute), line
                named = {word.arg: None for word in node.keywords if word.arg}
                inspect.signature(getattr(of, node.func.attr)).bind(*node.args, **named)


def test_the_example_gains_what_it_prints(root: Path, tmp_path: Path) -> None:
    """Another machine rounds otherwise, so that figures may differ by a few answers."""
    text = (root / "README.md").read_text()
    (example,), (printed,) = blocks(text, "python"), blocks(text, "text")
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    def figures(lines: str) -> dict[str, float]:
        rows = re.findall(r"^(\w+): ([\d.]+)%$", lines, flags=re.MULTILINE)
        return {name: float(value) for name, value in rows}

    found, shown = figures(done.stdout), figures(printed)
    assert found.keys() == shown.keys() == {"first", "second", "folded"}
    assert all(abs(found[name] - shown[name]) < 2 for name in shown), found
    assert found["folded"] > max(found["first"], found["second"]) + 4


def test_the_picture_is_drawn_from_the_results(root: Path) -> None:
    from benchmarks.folding.picture import draw, points

    record = json.loads((root / "benchmarks/results/folding/study.json").read_text())
    found = points(record)
    assert draw(found) == (root / "docs/pictures/accuracy_against_cost.svg").read_text()
    text = " ".join((root / "README.md").read_text().split())
    means = {point.name: sum(point.accuracies) / len(point.accuracies) for point in found}
    for name in ("best member", "ensemble of both", "one network, folded by least squares"):
        assert f"{means[name]:.1f} %" in text, name


def test_the_shell_example_runs(
    root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On members like the demo's, but hardly trained."""
    monkeypatch.chdir(tmp_path)
    write_demo(tmp_path)
    shell = blocks((root / "README.md").read_text(), "sh")
    (example,) = [block for block in shell if block.startswith("onefold merge")]
    commands = [shlex.split(line) for line in example.replace("\\\n", " ").splitlines()]
    assert [command[1] for command in commands] == ["merge", "merge"]
    for command in commands:
        result = onefold(*command[1:])
        assert result.status == 0, result.err
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "folded.safetensors"
    ).read_bytes()
    assert (tmp_path / "folded.html").exists()


def test_the_demo_makes_the_networks_that_the_readme_names(root: Path) -> None:
    from onefold.demo.run import MODEL, TRAINING

    assert f'--model "{MODEL}"' in (root / "README.md").read_text()
    assert f"--skip {TRAINING}" in (root / "README.md").read_text()


def test_the_two_commands_stand_in_the_readme_and_ci_reads_them_there(root: Path) -> None:
    lines = (root / "README.md").read_text().splitlines()
    assert 'pip install -c constraints.txt -e ".[demo]" && onefold demo' in lines
    assert 'pip install -c constraints.txt -e ".[test]" && pytest' in lines
    assert "onefold demo" not in (root / ".ci" / "run").read_text()


def test_the_methods_of_the_overview_exist(root: Path, onefold: Callable) -> None:
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
        r"^\| (align|fold|repair) `(\w+)`",
        (root / "docs" / "methods.md").read_text(),
        flags=re.MULTILINE,
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
