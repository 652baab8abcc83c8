"""The style of figures, and their files: one palette, one kind of axes, SVG and PNG.

Colours are Okabe & Ito's hues (2008, "Color Universal Design"), moved to one lightness, so that
each has a contrast of about 4 to 1 on white and on near-black alike. Series differ by marker, too,
for readers who see no hue. Text and lines are drawn in INK, which an SVG leaves to the page around
it (`currentColor`), so that one figure serves light and dark pages. Figures are matplotlib's,
without pyplot's global state. Equal figures give equal bytes.
"""

from __future__ import annotations

import importlib.util
import io
import re
from typing import TYPE_CHECKING, Any

from onefold.errors import SettingError
from onefold.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue, vermilion, green, pink, ochre, violet.
PALETTE = ("#2a7fc9", "#d55e00", "#0f9277", "#c05a9d", "#a87b00", "#7a6fd0")
MARKERS = ("o", "s", "D", "^", "v", "P")
INK = "#1f2328"
MUTED = "#6e7781"  # of things to compare with; readable on white and on near-black
WIDTH = 10.5  # inches; 756 units of SVG
# The first is matplotlib's own. The second has its widths.
FONTS = ["DejaVu Sans", "Verdana", "Geneva", "Arial", "sans-serif"]

JOINS = "stroke-linejoin: round; stroke-linecap: butt"  # of all lines, as matplotlib has them
UNNAMED = re.compile(r"_child\d+$|_nolegend_$|$")  # labels that matplotlib gives by itself

MISSING = 'Pictures need the package matplotlib; install it with: pip install "onefold[plots]".'


def can_draw() -> bool:
    """Whether matplotlib, which is optional, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(height: float, rows: int = 1, *, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """An empty figure.

    Args:
        height: of the figure, in inches; it is WIDTH inches wide.
        rows: the number of axes, one below the other.
        share_x: all axes have the horizontal axis of the first.

    Returns:
        The figure and its axes.

    Raises:
        SettingError: matplotlib is not installed.
    """
    if not can_draw():
        raise SettingError(MISSING)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    first = figure.add_subplot(rows, 1, 1)
    shared = first if share_x else None
    axes = [first, *(figure.add_subplot(rows, 1, i + 1, sharex=shared) for i in range(1, rows))]
    for one in axes:
        restyle(one)
    return figure, axes


def restyle(axes: Axes, *, grid: str = "both") -> None:
    """Draw the axes in INK, with two spines, small outer ticks and a faint grid.

    Args:
        axes: the axes.
        grid: "x", "y", "both" or "none".
    """
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
        spine.set_alpha(0.5)
    axes.tick_params(colors=INK, labelcolor=INK, labelsize=9, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(10)
    axes.grid(False)
    if grid != "none":
        axes.grid(True, axis=grid, color=INK, alpha=0.13, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def color(index: int) -> str:
    """The colour of series number `index`. Colours repeat after six, with other markers."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """The marker of series number `index`. It is shifted by one on every repeat of the colours."""
    return MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def legend(axes: Axes, columns: int = 1) -> None:
    """Add a legend above the axes, where it hides nothing.

    Args:
        axes: the axes.
        columns: the number of columns of the legend.
    """
    drawn = [
        artist
        for artist in (*axes.lines, *axes.collections, *axes.patches)
        if not UNNAMED.match(str(artist.get_label()))
    ]
    # matplotlib leaves out labels that begin with an underscore, as names of modules may: the
    # texts are set behind its back.
    made = axes.legend(
        drawn,
        [str(number) for number in range(len(drawn))],
        loc="lower left",
        bbox_to_anchor=(0, 1.02),
        borderaxespad=0,
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handlelength=2.2,
    )
    for text, artist in zip(made.get_texts(), drawn, strict=True):
        text.set_text(str(artist.get_label()))


def to_svg(figure: Figure, name: str = "figure") -> str:
    """The figure as an SVG element, for an HTML page or a file of its own.

    Text stays text. It and the axes take the page's text colour. Equal figures give equal text.

    Args:
        figure: the figure.
        name: the beginning of every id in the SVG. Figures on one page need names of their own.
    """
    import matplotlib

    _take_literally(figure)
    buffer = io.StringIO()
    settings: Any = {
        "svg.hashsalt": "onefold",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": FONTS,
    }
    with matplotlib.rc_context(settings):
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Rules of a style element would hold for the whole page; on the root they hold in it alone.
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg style="{JOINS}" ', 1)
    svg = svg.replace(INK, "currentColor")
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as a PNG on white. Equal figures give equal bytes.

    Args:
        figure: the figure.
        dpi: dots per inch.
    """
    import matplotlib

    _take_literally(figure)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"font.family": "sans-serif", "font.sans-serif": FONTS}):
        figure.savefig(
            buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None}
        )
    return buffer.getvalue()


def _take_literally(figure: Figure) -> None:
    """Draw names as they are: a dollar sign begins no formula, an escape is shown as one."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(printable(text.get_text(), lines=True))
        if "$" in text.get_text():  # labels of logarithmic axes, which are formulas, come later
            text.set_parse_math(False)
