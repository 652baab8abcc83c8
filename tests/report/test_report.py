"""The report: complete JSON, escaped and self-contained HTML, comparison table, verdict, figures."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from onefold.errors import DataError, OutputError
from onefold.measure import LinearPath, Reliability, Scores, Triangle
from onefold.report import (
    Candidate,
    Column,
    Report,
    accuracy_comparison,
    alignment_overview,
    barrier_curves,
    comparison_table,
    correlation_spectra,
    heat_map,
    reliability_diagram,
    to_png,
    to_svg,
    triangle_map,
    verdict,
)


def scores(accuracy: float, nll: float = 0.5, n: int = 1000) -> Scores:
    return Scores(accuracy, nll, 0.02, 0.1, n)


def line(dip: float = 0.3, worst: float = 2.0) -> LinearPath:
    return LinearPath((0, 0.5, 1), (scores(0.9), scores(0.9 - dip, worst), scores(0.9)))


def spectra(groups: int) -> dict[str, np.ndarray]:
    return {
        f"layer{i}.a.rather.long.path.to.a.convolution.conv{i}": np.linspace(0.95, 0.3, 5 + i)
        for i in range(groups)
    }


FIGURES: dict[str, Callable[[], Figure]] = {
    "one barrier": lambda: barrier_curves({"aligned": line()}),
    "infinite barrier": lambda: barrier_curves(
        {"aligned": line(), "not aligned": line(0.8, math.inf)}
    ),
    "one spectrum": lambda: correlation_spectra(spectra(1)),
    "six spectra": lambda: correlation_spectra(spectra(6)),
    "sixty spectra": lambda: correlation_spectra(spectra(60)),
    "negative correlations": lambda: correlation_spectra({"a": [0.5, -0.5]}),
    "overview": lambda: alignment_overview(
        {"member 1": {"a": 0.5, "b": 0.4}, "member 2": {"b": 0.1}}
    ),
    "reliability": lambda: reliability_diagram(
        {"a": Reliability((0.3, 0.9), (0.2, 0.95), (10, 90), 15, "adaptive")}
    ),
    "comparison": lambda: accuracy_comparison(
        {"a": scores(0.9), "folded": scores(0.8, n=10)}, ["folded"]
    ),
    "small heat map": lambda: heat_map(
        [[0.1, float("nan")], [0.5, 1]], ["a", "b"], ["c", "d"], label="gate (0 to 1)"
    ),
    "flat heat map": lambda: heat_map(np.zeros((1, 1)), ["a"], ["b"], label="gate (0 to 1)"),
    "large heat map": lambda: heat_map(
        np.random.default_rng(0).random((30, 40)),
        [f"r{i}" for i in range(30)],
        [f"column {i}" for i in range(40)],
        label="x",
    ),
    "triangle": lambda: triangle_map(
        Triangle(((1, 0, 0), (0, 1, 0), (0, 0, 1)), (scores(0.9), scores(0.8), scores(0.7)))
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_deterministic_and_can_be_embedded(name: str) -> None:
    first, second = to_svg(FIGURES[name](), "x"), to_svg(FIGURES[name](), "x")
    assert first == second
    root = ET.fromstring(first)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(each.startswith("x-") for each in ids if each)
    assert "<metadata" not in first
    assert "currentColor" in first
    Report(title="t").section("s").picture(first, "caption")  # nothing in it is refused
    width = float(root.get("viewBox", "").split()[2])
    assert width == 504


def test_png_is_deterministic() -> None:
    assert to_png(FIGURES["one barrier"]()) == to_png(FIGURES["one barrier"]())
    assert to_png(FIGURES["one barrier"]()).startswith(b"\x89PNG")


def test_ids_of_two_figures_on_a_page_do_not_clash() -> None:
    report = Report(title="t")
    report.section("One").picture(FIGURES["one barrier"](), "a").picture(FIGURES["overview"](), "b")
    report.section("Two").picture(FIGURES["one barrier"](), "c")
    ids = re.findall(r'\bid="([^"]+)"', report.to_html())
    assert len(ids) == len(set(ids)) > 10


def test_every_reference_inside_a_picture_has_its_target() -> None:
    svg = to_svg(FIGURES["comparison"](), "some name/with *signs*")
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    references = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert references
    assert references <= ids


def test_figures_say_what_is_wrong() -> None:
    with pytest.raises(DataError, match="no path"):
        barrier_curves({})
    with pytest.raises(DataError, match="different losses"):
        barrier_curves({"a": line(), "b": LinearPath(line().positions, line().scores, "error")})
    with pytest.raises(DataError, match="Group 'a' has no correlations"):
        correlation_spectra({"a": []})
    with pytest.raises(DataError, match="1 row and 3 column"):
        heat_map([[1, 2]], ["a"], ["b", "c", "d"], label="x")


def full_report() -> Report:
    report = Report(
        title="A <b>title</b> & more",
        summary="One.\n\nTwo.",
        data={"scores": scores(0.9, math.inf).to_dict()},
    )
    report.section("First <i>").text("Text with <script>alert(1)</script>.").facts(
        {"steps": 1200, "time (s)": 1.5, "repaired": True, "gap": None}
    )
    report.section("Second").table(
        [Column(name="name"), Column(name="loss", unit="nats", digits=3)],
        [["a & b", math.inf], ["c", 0.5]],
        caption="Losses.",
    )
    report.section("Third").picture(FIGURES["one barrier"](), "A barrier <x>.", 'It says "much".')
    return report


def test_json_is_complete_and_strict() -> None:
    report = full_report()
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_html() == report.to_html()
    assert Report.from_json(text).to_json() == text
    assert json.loads(text)["sections"][1]["blocks"][0]["rows"][0] == ["a & b", "inf"]
    report.data["bad"] = math.nan
    with pytest.raises(DataError, match="cannot be written as JSON"):
        report.to_json()


def test_the_page_is_escaped_and_self_contained() -> None:
    html = full_report().to_html()
    assert "<script" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;" in html
    assert "A &lt;b&gt;title&lt;/b&gt; &amp; more" in html
    assert 'aria-label="It says &quot;much&quot;."' in html
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html
    for link in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert link.startswith("#")
    assert "@import" not in html
    assert 'loss <span class="unit">(nats)</span>' in html
    assert "1,200" in html


def test_contents_appear_with_the_fourth_section() -> None:
    report = full_report()
    assert "<nav" not in report.to_html()
    report.section("Fourth")
    assert '<li><a href="#section-4">Fourth</a></li>' in report.to_html()


@pytest.mark.parametrize(
    ("svg", "message"),
    [
        ("<svg><script>alert(1)</script></svg>", "<script>"),
        ('<svg onload="alert(1)"/>', "onload"),
        ('<svg><a href="https://example.org"/></svg>', "<a>"),
        ('<svg><image href="https://example.org/x.png"/></svg>', "href"),
        ('<svg><use xmlns:x="http://www.w3.org/1999/xlink" x:href="other.svg#a"/></svg>', "href"),
        ("<svg><foreignObject/></svg>", "foreignObject"),
        ("<svg><style>@import 'https://example.org'</style></svg>", "from elsewhere"),
        ('<svg><rect style="fill: url(https://example.org/a)"/></svg>', "from elsewhere"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "document type"),
        ("<svg>", "no XML"),
        ("<p/>", "outermost"),
    ],
)
def test_a_picture_that_is_more_than_a_drawing_is_refused(svg: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Report(title="t").section("s").picture(svg, "caption")
    text = (
        Report(title="t")
        .to_json()
        .replace(
            '"sections": []',
            '"sections": [{"title": "s", "blocks": [{"kind": "picture", "svg":'
            f" {json.dumps(svg)}}}]}}]",
        )
    )
    with pytest.raises(DataError, match="no onefold report"):
        Report.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": "onefold report 1"}',
        '{"format": "onefold report 2", "title": "t"}',
        '{"title": "t", "extra": 1}',
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no onefold report"):
        Report.from_json(text)


def test_comparison_table_states_units_and_raw_numbers() -> None:
    broken = Scores(0.1, math.inf, 0.9, 1.8, 1000, nonfinite=3)
    table = comparison_table(
        [
            ("best member", scores(0.9123), 4242, 1.0, ""),
            Candidate("folded", broken, 4242, 1, "pretend"),
        ],
        emphasis=["folded"],
    )
    assert table.headings[:5] == (
        "network",
        "accuracy (%)",
        "standard error (points)",
        "NLL (nats)",
        "ECE (%, 15 equal-width bins)",
    )
    assert table.rows[0][1] == pytest.approx(91.23)
    assert table.plain()[0][:4] == ["best member", "91.23", "0.89", "0.5000"]
    assert table.rows[1][3] == "inf"
    assert table.rows[1][-1] == "pretend; 3 examples with non-finite outputs, counted as wrong"
    assert table.emphasis == (1,)
    with pytest.raises(DataError, match="different bins"):
        comparison_table(
            [
                Candidate("a", scores(0.9), 1, 1),
                Candidate("b", Scores(0.9, 1, 0, 0, 10, bins=20), 1, 1),
            ]
        )


def test_verdict_claims_only_what_two_standard_errors_allow() -> None:
    def candidate(name: str, accuracy: float) -> Candidate:
        return Candidate(name, scores(accuracy), 1, 1)

    text = verdict(
        candidate("folded network", 0.9),
        [candidate("average", 0.2), candidate("best member", 0.91), candidate("ensemble", 0.98)],
    )
    apart = "unpaired, as single answers were not kept"
    assert (
        text
        == "Folded network: more accurate than average by 70.00 percentage points (standard error"
        f" 1.58, {apart}); not clearly different from best member (-1.00 percentage points,"
        f" standard error 1.31, {apart}); less accurate than ensemble by 8.00 percentage points"
        f" (standard error 1.05, {apart})."
    )


def test_a_table_must_be_rectangular() -> None:
    with pytest.raises(DataError, match="row 1 has 1 cells for 2 columns"):
        Report(title="t").section("s").table(["a", "b"], [[1, 2], [3]], caption="c")


def test_saving(tmp_path: Path) -> None:
    report = full_report()
    report.save(tmp_path / "r.html")
    report.save(tmp_path / "r.json")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == report.to_html()
    assert Report.from_json((tmp_path / "r.json").read_bytes()) == report
    with pytest.raises(OutputError, match=r"r\.html"):
        report.save(tmp_path / "r.html")
    report.save(tmp_path / "r.html", force=True)
    with pytest.raises(OutputError, match=r"\.html or \.json"):
        report.save(tmp_path / "r.pdf")
