"""A report in a real browser: it fits a telephone and a desk, nothing overlaps, and its policy
stops scripts and loads.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import numpy as np
import pytest

from onefold.measure import LinearPath, Scores
from onefold.report import (
    Candidate,
    Grid,
    Report,
    barrier_curves,
    correlation_spectra,
    score_chart,
    score_table,
)

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH")

# The page is put into frames of several widths; this script, outside of it, measures and writes
# what it found into the title.
MEASURE = """
<body><script>
const found = {};
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement;
  const parts = 'h1, .verdict, h2, details > p, details > dl, figure, .made, footer';
  const blocks = [...page.querySelectorAll(parts)].map(e => e.getBoundingClientRect());
  let overlaps = 0;
  for (let i = 1; i < blocks.length; i++)
    if (blocks[i].top < blocks[i - 1].bottom - 0.5) overlaps++;
  const boxes = [...page.querySelectorAll('.scroll')];
  const scrolling = boxes.filter(b => b.scrollWidth > b.clientWidth).length;
  const tall = s => s.getBoundingClientRect().height > 100;
  const pictures = [...page.querySelectorAll('svg')].filter(tall).length;
  const overflow = root.scrollWidth - root.clientWidth;
  return {overflow, overlaps, blocks: blocks.length, scrolling, pictures, title: page.title};
}
addEventListener('load', () => {
  for (const frame of document.querySelectorAll('iframe')) found[frame.width] = measure(frame);
  document.title = JSON.stringify(found);
});
</script>
"""


@pytest.fixture
def report() -> Report:
    scores = Scores.of_classifier(0.9, 0.3, 0.02, 0.1, 1000)
    path = LinearPath((0, 0.5, 1), (scores, Scores.of_classifier(0.3, 2.0, 0.2, 0.8, 1000), scores))
    report = Report(title="Folding networks " + "x" * 100, summary="A summary.")
    rows = [
        Candidate(
            f"network number {i}", scores, 123_456, 1.0, "a note of some length that has to wrap"
        )
        for i in range(4)
    ]
    report.verdict, report.picture = "One of them is best. " * 3, score_chart(rows, rows[0].name)
    report.date, report.command = "2026-11-30", "onefold merge " + "/long" * 60
    report.section("Scores").table(score_table(rows, rows[0].name)).facts(
        {"recipe": "/" + "long" * 60, "seconds": 1.5}
    )
    report.section("Classes").grid(
        Grid(
            corner="label",
            rows=tuple("abcdefghijkl"),
            columns=tuple("abcdefghijkl"),
            values=((1.0,) * 12,) * 12,
        )
    )
    report.section("Line").picture(barrier_curves({"line": path}), "The barrier.")
    report.section("Spectra").picture(
        correlation_spectra({f"layer{i}": np.linspace(1, 0, 20) for i in range(30)}),
        "Thirty groups.",
    )
    report.section("Words").text("word " * 200 + "w" * 300)
    return report


def measure(html: str, folder: Path) -> dict[str, dict[str, object]]:
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{escape(html, quote=True)}"></iframe>'
        for width in (420, 1400)
    )
    page = folder / "measure.html"
    page.write_text(
        f"<!DOCTYPE html><meta charset='utf-8'><title></title>{MEASURE}{frames}", encoding="utf-8"
    )
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-gpu",
        "--no-sandbox",
    ]
    command = [
        str(BROWSER),
        "--headless",
        *quiet,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1600,1000",
        "--dump-dom",
        page.as_uri(),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the browser did not answer within a minute")
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr[-500:]
    found: dict[str, dict[str, object]] = json.loads(title[1])
    return found


@pytest.mark.slow
def test_a_report_fits_narrow_and_wide_screens(report: Report, tmp_path: Path) -> None:
    found = measure(report.to_html(), tmp_path)
    for width in ("420", "1400"):
        assert found[width]["title"] == report.title
        assert found[width]["overflow"] == 0
        assert found[width]["overlaps"] == 0
        assert found[width]["pictures"] == 3
    # the table, the grid and the two pictures of matplotlib, each inside its box
    assert found["420"]["scrolling"] == 4
    assert found["1400"]["scrolling"] == 0


@pytest.mark.slow
def test_the_measurement_sees_overflow_and_overlap_and_the_policy_stops_scripts(
    report: Report, tmp_path: Path
) -> None:
    page = report.to_html()
    spoiled, cut = re.subn(r"\.scroll \{\s*overflow-x: auto;", ".scroll {", page)
    spoiled, moved = re.subn(r"\nh2 \{", "\nh2 { position: relative; top: 3rem;", spoiled)
    assert (cut, moved) == (1, 1)
    spoiled = spoiled.replace("</main>", "</main><script>document.title = 'a script ran'</script>")
    found = measure(spoiled, tmp_path)
    assert int(str(found["420"]["overflow"])) > 100
    assert int(str(found["420"]["overlaps"])) > 0
    assert found["420"]["title"] == report.title
