"""Figures are deterministic, can be embedded, and say what is wrong with their data."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from report_figures import FIGURES, line

from onefold.errors import DataError
from onefold.measure import LinearPath
from onefold.report import Report, barrier_curves, correlation_spectra, heat_map, to_png, to_svg


@pytest.mark.slow
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
    assert width == 756


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


@pytest.mark.parametrize("name", ["a$b$", "$x_1", "\\frac$", "a\x1bb", "_$^", "<b>"])
def test_names_of_modules_are_drawn_as_they_are(name: str) -> None:
    path = line(0.1)
    svg = to_svg(barrier_curves({name: path, "other": path}))
    texts = [text.text for text in ET.fromstring(svg).iter() if text.tag.endswith("text")]
    assert any((text or "").startswith(name.replace("\x1b", r"\x1b") + ":") for text in texts)
    assert to_png(barrier_curves({name: path}))
