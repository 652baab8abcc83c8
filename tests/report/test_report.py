"""The report: complete JSON, and escaped, self-contained HTML."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from report_figures import FIGURES, scores

from onefold.errors import DataError, OutputError
from onefold.report import Column, Report


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


@pytest.mark.slow
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


@pytest.mark.parametrize("svg", ["<svg><script>alert(1)</script></svg>", "<svg>", "<p/>"])
def test_a_picture_that_is_more_than_a_drawing_is_refused(svg: str) -> None:
    with pytest.raises(DataError, match="cannot be embedded"):
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


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\x00b", "a\u202eb", "a\x9bb", "a\u2028b"])
def test_control_characters_of_names_are_shown_and_not_obeyed(name: str) -> None:
    report = Report(title=name, summary=name)
    section = report.section(name).text(name).facts({name: name})
    section.table([Column(name=name, unit=name)], [[name]], caption=name)
    html = report.to_html()
    assert name[1] not in html
    assert html.count(repr(name).strip("'")) >= 9


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
