"""The report: complete JSON, and escaped, self-contained HTML."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from report_figures import FIGURES, scores

from onefold.errors import DataError, OutputError
from onefold.report import Column, Grid, Picture, Report


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


def test_the_page_begins_with_the_verdict_and_folds_the_details_away() -> None:
    report = full_report()
    assert "<h1 class=alone>A &lt;b&gt;title" in report.to_html()
    report.verdict, report.tone = "It is <better>.", "gain"
    report.picture = Picture(svg="<svg></svg>", narrow="<svg></svg>", description="a chart")
    report.date, report.command = "2026-11-30", "onefold merge a&b"
    report.section("Fourth", folded=True).text("Last.")
    html = report.to_html()
    order = ["<h1>A", "30 November 2026", "▲ A gain", "It is &lt;better&gt;."]
    order += [
        'aria-label="a chart"',
        "In full",
        "onefold merge a&amp;b",
        "<details open><summary><h2>First",
    ]
    order += ["<details><summary><h2>Fourth"]
    places = [html.index(text) for text in order]
    assert places == sorted(places)
    assert Report.from_json(report.to_json()) == report


def test_tables_mark_the_best_and_offer_their_numbers_as_csv() -> None:
    columns = [
        Column(name="network"),
        Column(name="note", part="note"),
        Column(name="accuracy", unit="%", digits=1, best="highest"),
        Column(name="error", digits=2, part="error"),
        Column(name="NLL", digits=2, best="lowest"),
        Column(name="gain", digits=1, signed=True, bars=True),
    ]
    rows = [["a", "the <first>", 90.0, 0.25, 0.5, None], ["b", "", 95.0, 0.125, 0.75, 2.5]]
    report = Report(title="t")
    report.section("s").table(columns, rows, emphasis=[1])
    html = report.to_html()
    assert '<th scope="row">a<span class="note">the &lt;first&gt;</span></th>' in html
    assert '95.0 <span class="error">± 0.12</span><span class="hidden"> (best)</span>' in html
    assert '<td class="number best">0.50<span class="hidden"> (best)</span></td>' in html
    assert html.count('class="number best"') == 2
    assert '+2.5<span class="bar"><i class="plus" style="--w:50%"></i></span>' in html
    assert "network,note,accuracy (%),error,NLL,gain\na,the &lt;first&gt;,90,0.25,0.5,\n" in html
    assert html.count("<th scope=") == 6  # errors and notes have no heading of their own


def test_a_grid_shades_its_numbers_and_must_be_rectangular() -> None:
    grid = Grid(corner="x", rows=("a", "b"), columns=("c",), values=((0.5,), (None,)), digits=1)
    report = Report(title="t")
    html = report.section("s").grid(grid) and report.to_html()
    assert '<td style="--s:100%">0.5</td>' in html
    assert "<td>–</td>" in html
    assert Report.from_json(report.to_json()) == report
    with pytest.raises(ValidationError, match="do not fit"):
        Grid(rows=("a",), columns=("c",), values=((1.0, 2.0),))


def test_pictures_can_be_enlarged_without_a_script() -> None:
    report = Report(title="t")
    report.section("s").picture("<svg></svg>", "Lanes.", zoom=True)
    report.section("s").picture("<svg></svg>", "Lanes.", zoom=True)
    html = report.to_html()
    assert html.count('type="radio"') == 6
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'for="([^"]+)"', html)) <= set(ids)


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
        '{"format": "onefold report 2"}',
        '{"format": "onefold report 3", "title": "t"}',
        '{"title": "t", "extra": 1}',
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no onefold report"):
        Report.from_json(text)


def test_a_report_of_an_older_format_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"'onefold report 1' of an older onefold.*wrote it again"):
        Report.from_json('{"format": "onefold report 1", "title": "t", "sections": []}')


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
