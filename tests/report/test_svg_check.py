"""What an SVG from somebody else may hold: what our own pictures hold, and nothing else."""

from __future__ import annotations

import pytest
from report_figures import FIGURES

from onefold.report.style import to_svg
from onefold.report.svg_check import check_svg

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">%s</svg>'


@pytest.mark.parametrize("name", list(FIGURES))
def test_our_own_pictures_pass(name: str) -> None:
    check_svg(to_svg(FIGURES[name]()))


@pytest.mark.parametrize(
    "inner",
    [
        '<g id="a-1" transform="translate(1 2) scale(0.5,-1) rotate(-90)"><path d="M 0 1 z"/></g>',
        '<use x:href="#a" x="1e-3" y="-2"/>',
        '<image href="data:image/png;base64,aGFsbG8=" width="1" height="1"/>',
        '<rect clip-path="url(#p1)" style="fill: url(#a); stroke: #ff00aa; opacity: .5"/>',
        "<text style=\"font: 700 9px 'DejaVu Sans', sans-serif\">a &lt; b &amp; c</text>",
        '<text fill="currentColor" text-anchor="middle">1</text>',
    ],
)
def test_drawings_pass(inner: str) -> None:
    check_svg(SVG % inner)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        # elements that act, load, or style more than themselves
        ("<script>alert(1)</script>", "<script>"),
        ("<x:script/>", "<script>"),
        ("<foreignObject/>", "<foreignObject>"),
        ('<a href="#b"/>', "<a>"),
        ("<animate/>", "<animate>"),
        ("<set/>", "<set>"),
        ("<style>main{display:none}</style>", "<style>"),
        ("<style>@import 'https://example.org'</style>", "<style>"),
        ("<iframe/>", "<iframe>"),
        ("<p xmlns='http://www.w3.org/1999/xhtml'/>", "<p>"),
        ("<svg xmlns='http://www.w3.org/1999/xhtml'/>", "<svg>"),
        ("<filter/>", "<filter>"),
        # attributes that act or load
        ('<rect onload="alert(1)"/>', "onload"),
        ('<rect ONLOAD="alert(1)"/>', "ONLOAD"),
        ('<rect class="scroll"/>', "class"),
        ('<rect filter="url(https://example.org)"/>', "filter"),
        ('<image href="https://example.org/x.png"/>', "href"),
        ('<image href="data:image/svg+xml;base64,aGFsbG8="/>', "href"),
        ('<image href=" javascript:alert(1)"/>', "href"),
        ('<image src="a.png"/>', "src"),
        ('<use x:href="other.svg#a"/>', "href"),
        ('<g xml:base="https://example.org"/>', "base"),
        ('<rect clip-path="url(https://example.org#a)"/>', "clip-path"),
        ('<rect transform="url(#a)"/>', "transform"),
        # styles that load, or leave the picture
        ('<rect style="fill: url(https://example.org/a)"/>', "style"),
        ('<rect style="fill:URL(http://example.org/)"/>', "style"),
        ('<rect style="fill:u\\72l(http://example.org/)"/>', "style"),
        ("<rect style=\"fill: image-set('a.png' 1x)\"/>", "style"),
        ('<rect style="background: url(#a)"/>', "style"),
        ('<rect style="position: fixed; width: 100vw"/>', "style"),
        ('<rect style="fill: red /* */; --x: 1"/>', "style"),
        ('<rect fill="url(https://example.org/a)"/>', "fill"),
        ('<rect style="fill: var(--ink)"/>', "style"),
        ('<rect style="font-family: a; @import"/>', "style"),
        # what XML does not see and HTML does
        ('<?x ><meta http-equiv="refresh" content="0;url=http://example.org/">?>', "instruction"),
        ("<!-- --><rect/>", "comment"),
        ("<![CDATA[<script>alert(1)</script>]]>", "comment"),
    ],
)
def test_what_is_more_than_a_drawing_is_refused(inner: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_svg(SVG % inner)


@pytest.mark.parametrize(
    ("svg", "message"),
    [
        ("<svg>", "no XML"),
        ("", "no XML"),
        ("<p/>", "outermost"),
        ("text <svg/>", "no XML"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "document type"),
        ('<?xml version="1.0"?><svg/>', "instruction"),
    ],
)
def test_what_is_no_picture_is_refused(svg: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_svg(svg)
