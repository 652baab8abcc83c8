"""A check that an SVG element, which may come from somebody else, only draws.

The check is a list of what is allowed: the elements, attributes, style properties and forms of
values that pictures of onefold are made of. Anything else is refused. A list of what is forbidden
would have to name every way in which XML, HTML and CSS can act or load.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
LINKS = ("href", "{http://www.w3.org/1999/xlink}href")

ELEMENTS = frozenset(
    {
        "svg",
        "defs",
        "g",
        "path",
        "use",
        "clipPath",
        "rect",
        "text",
        "tspan",
        "image",
        "title",
        "desc",
        "line",
        "circle",
        "ellipse",
        "polygon",
        "polyline",
    }
)
ATTRIBUTES = frozenset(
    {
        "id",
        "d",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "dx",
        "dy",
        "cx",
        "cy",
        "r",
        "rx",
        "ry",
        "width",
        "height",
        "points",
        "transform",
        "viewBox",
        "version",
        "preserveAspectRatio",
        "clip-path",
    }
)
PROPERTIES = frozenset(
    {
        "fill",
        "fill-opacity",
        "fill-rule",
        "stroke",
        "stroke-width",
        "stroke-opacity",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-miterlimit",
        "stroke-dasharray",
        "stroke-dashoffset",
        "opacity",
        "clip-path",
        "clip-rule",
        "color",
        "font",
        "font-size",
        "font-family",
        "font-weight",
        "font-style",
        "font-variant",
        "font-stretch",
        "text-anchor",
        "dominant-baseline",
        "image-rendering",
    }
)
# Words, numbers, hexadecimal colors and quoted names. No backslash, at-sign or slash.
PLAIN = re.compile(r"[\w\s.,%#+'\"-]*")
# What is above, and the functions that place and turn.
PLACED = re.compile(r"(?:[\s\w.,%#+-]|\b(?:matrix|translate|scale|rotate|skewX|skewY)\([^()]*\))*")
INSIDE = re.compile(r"url\(#[\w.:-]+\)|none")  # a reference to a part of the picture itself
LINKED = re.compile(r"#[\w.:-]+|data:image/png;base64,[A-Za-z0-9+/=\s]*")


def check_svg(svg: str) -> None:
    """Refuse an SVG that could do more than draw.

    Args:
        svg: the SVG element as text.

    Raises:
        ValueError: it is no SVG element, or holds anything that no picture of onefold has.
    """
    if "<!" in svg or "<?" in svg:
        raise ValueError(
            "its SVG has a document type, comment or processing instruction; begin at <svg>"
        )
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"its SVG is no XML ({error})") from None
    if _local(root.tag) != "svg":
        raise ValueError(f"its outermost element is <{_local(root.tag)}>, not <svg>")
    for element in root.iter():
        if element.tag.removeprefix(SVG) not in ELEMENTS:
            raise ValueError(f"its SVG holds <{_local(element.tag)}>, which is no drawing")
        for name, value in element.attrib.items():
            if not _allowed(name, value):
                raise ValueError(f"its SVG has the attribute {_local(name)}='{value[:40]}'")


def _allowed(name: str, value: str) -> bool:
    """Whether an attribute with that value only draws."""
    if name in LINKS:
        return bool(LINKED.fullmatch(value))
    if name == "style":
        return all(_styles(part) for part in value.split(";") if part.strip())
    if name == "clip-path":
        return bool(INSIDE.fullmatch(value.strip()))
    if name in PROPERTIES:
        return _styles(f"{name}:{value}")
    return name in ATTRIBUTES and bool(PLACED.fullmatch(value))


def _styles(declaration: str) -> bool:
    """Whether a declaration of CSS sets an allowed property to a plain value."""
    name, _, value = declaration.partition(":")
    if name.strip() not in PROPERTIES:
        return False
    return bool(PLAIN.fullmatch(value) or INSIDE.fullmatch(value.strip()))


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]
