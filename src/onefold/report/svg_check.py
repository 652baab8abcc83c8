"""A check that an SVG element, which may come from somebody else, only draws."""

from __future__ import annotations

from xml.etree import ElementTree

# Elements of SVG that draw. Others could act or load something.
_DRAWING = {
    "svg",
    "defs",
    "style",
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
    "polygon",
}


def check_svg(svg: str) -> None:
    """Refuse an SVG that could do more than draw.

    Args:
        svg: the SVG element as text.

    Raises:
        ValueError: it is no SVG element, or holds anything that could act or load something.
    """
    if "<!" in svg:
        raise ValueError("its SVG has a document type or comment; begin at <svg>")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"its SVG is no XML ({error})") from None
    if _local(root.tag) != "svg":
        raise ValueError(f"its outermost element is <{_local(root.tag)}>, not <svg>")
    for element in root.iter():
        if _local(element.tag) not in _DRAWING:
            raise ValueError(f"its SVG holds <{_local(element.tag)}>, which is no drawing")
        for name, value in element.attrib.items():
            link = _local(name) == "href" and not value.startswith(("#", "data:image/png;base64,"))
            if link or _local(name).lower().startswith("on"):
                raise ValueError(f"its SVG has the attribute {_local(name)}='{value[:40]}'")
            _check_css(value)
        if _local(element.tag) == "style":
            _check_css(element.text or "")


def _check_css(css: str) -> None:
    links = [part.lstrip(" '\"") for part in css.split("url(")[1:]]
    if "@import" in css or not all(link.startswith("#") for link in links):
        raise ValueError("its SVG loads something from elsewhere")


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]
