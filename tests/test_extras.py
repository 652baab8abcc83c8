"""Optional packages: the library works without them and says what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onefold.errors import SettingError
from onefold.report import Report, heat_map

INSTALL = 'pip install "onefold[plots]"'
MERGE = """
import sys
sys.modules["matplotlib"] = None  # every import of it fails
import torch
import onefold

models = [torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)).eval()
          for _ in range(2)]
result = onefold.merge(models, [torch.randn(64, 4)], align="permutation")
print(type(result.model).__name__)
"""


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_a_merge_needs_no_matplotlib(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        [sys.executable, "-c", MERGE], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "Sequential\n"), done.stderr


@pytest.mark.usefixtures("without_matplotlib")
def test_a_figure_without_matplotlib_says_what_to_install() -> None:
    with pytest.raises(SettingError, match=re.escape(INSTALL)) as caught:
        heat_map([[0.0, 1.0]], ["a"], ["b", "c"], label="distance")
    assert str(caught.value).count(". ") == 0


@pytest.mark.usefixtures("without_matplotlib")
def test_a_report_without_matplotlib_has_a_sentence_for_a_picture() -> None:
    report = Report(title="Two networks", summary="They differ.")
    report.section("Distances").picture(
        lambda: heat_map([[0.0, 1.0]], ["a"], ["b", "c"], label="distance"), "Distances of two."
    )
    page = report.to_html()
    assert "<svg" not in page
    assert "Distances of two." in page
    assert "onefold[plots]" in page


def test_a_report_draws_what_a_function_draws() -> None:
    pytest.importorskip("matplotlib")
    report = Report(title="Two networks", summary="They differ.")
    report.section("Distances").picture(
        lambda: heat_map([[0.0, 1.0]], ["a"], ["b", "c"], label="distance"), "Distances of two."
    )
    assert "<svg" in report.to_html()


@pytest.mark.usefixtures("without_matplotlib")
def test_the_command_says_what_to_install(refused: Callable, tmp_path: Path) -> None:
    picture = tmp_path / "groups.svg"
    told = refused("inspect", "digits?width=4", "--shape", "1,8,8", "--picture", picture)
    assert told.startswith("Pictures need the package matplotlib")
    assert INSTALL in told
    assert not picture.exists()


def test_the_commands_of_the_readme_bring_matplotlib(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()

    def listed(name: str) -> str:
        return text.split(f"\n{name} = [")[1].split("]\n")[0]

    assert "matplotlib" in listed("plots")
    assert "matplotlib" not in listed("dependencies")
    for name in ("test", "demo", "all"):
        assert re.search(r"onefold\[[\w,]*\bplots\b", listed(name))
