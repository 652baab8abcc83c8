"""Figures are written as .svg or .png, and refused before slow work where they cannot be."""

import os
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from onefold.errors import OutputError, SettingError
from onefold.report import figure_files
from onefold.report.figure_files import check_figure, save_figure


@pytest.fixture
def figure() -> Figure:
    drawn = Figure()
    drawn.subplots().plot([0, 1], [1, 0])
    return drawn


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<svg"), ("a.png", b"\x89PNG")])
def test_the_ending_chooses_the_form(
    figure: Figure, tmp_path: Path, name: str, begins: bytes
) -> None:
    check_figure(tmp_path / name)
    save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    with pytest.raises(OutputError, match="exists already"):
        check_figure(tmp_path / name)
    check_figure(tmp_path / name, force=True)
    save_figure(figure, tmp_path / name, force=True)


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg", ".png", "a.svg.gz"])
def test_other_endings_are_refused(figure: Figure, tmp_path: Path, name: str) -> None:
    for refuses in (check_figure, lambda path: save_figure(figure, path)):
        with pytest.raises(OutputError, match=r"let the name end in \.svg or \.png\."):
            refuses(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_nothing_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_files, "can_draw", lambda: False)
    with pytest.raises(SettingError, match="matplotlib"):
        check_figure(tmp_path / "a.svg")
