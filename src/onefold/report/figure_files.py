"""Figures as files: .svg or .png, written in full or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from onefold.errors import SettingError
from onefold.report.style import MISSING, can_draw, to_png, to_svg
from onefold.weights import atomic_write, check_ending, check_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = (".svg", ".png")


def check_figure(path: str | os.PathLike[str], force: bool = False) -> None:
    """Check that a figure can be drawn, and written to `path`. Call it before slow work.

    Args:
        path: the file.
        force: an existing file may be replaced.

    Raises:
        OutputError: the name ends in neither .svg nor .png, the file exists and `force` is false,
            or it cannot be written.
        SettingError: matplotlib is not installed.
    """
    check_ending(path, "The picture", FORMS)
    check_output(path, force)
    if not can_draw():
        raise SettingError(MISSING)


def save_figure(
    figure: Figure, path: str | os.PathLike[str], name: str = "figure", *, force: bool = False
) -> None:
    """Write a figure to a file. Equal figures give equal bytes of SVG.

    Args:
        figure: the figure.
        path: the file; its ending chooses the form.
        name: the beginning of every id in an SVG.
        force: replace an existing file.

    Raises:
        OutputError: as `check_figure`.
    """
    check_ending(path, "The picture", FORMS)
    svg = os.fspath(path).endswith(".svg")
    content = to_svg(figure, name) + "\n" if svg else to_png(figure)
    atomic_write(path, content, force=force)
