"""Tables between comments in a page: finding them, writing them anew, and what has none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evidence.registry import EvidenceError, discover

END = "<!-- end of table -->"
OPENING = re.compile(r"^<!-- table:(?P<told>.*?)-->", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
FIGURE = re.compile(r"^[*_`~<>≤≥]*[-+−±]?\d")  # how a cell with a figure begins


@dataclass(frozen=True)
class Marked:
    """A table's place: text[start:stop] is what stands between the comments."""

    name: str
    files: tuple[str, ...]
    start: int
    stop: int


def marked(text: str, page: str) -> Iterator[Marked]:
    """All marked tables of a page, in order; raises where a comment is not as it should be."""
    bare = without_code(text)
    if bare.count(END) != len(OPENING.findall(bare)):
        raise EvidenceError(f"{page}: every '<!-- table: ... -->' needs its own '{END}'.")
    for found in OPENING.finditer(bare):
        told = " ".join(found["told"].split())
        name, found_from, listed = told.partition(" from ")
        files = tuple(part.strip() for part in listed.split(",") if part.strip())
        if not found_from or not files:
            raise EvidenceError(
                f"{page}: the table {name!r} names no JSON; write '<!-- table: NAME from"
                " benchmarks/results/FILE.json -->'."
            )
        stop = bare.find(END, found.end())
        following = OPENING.search(bare, found.end())
        if stop < 0 or (following is not None and following.start() < stop):
            raise EvidenceError(f"{page}: the table {name!r} has no '{END}' behind it.")
        yield Marked(name, files, found.end(), stop)


def without_code(text: str) -> str:
    """The text with fenced blocks blanked out, of the same length."""
    return FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)


def load(root: Path, file: str, page: str) -> Any:
    """The JSON that a comment names; of a folder that holds some, its path."""
    path = root / file
    if path.is_dir() and next(path.rglob("*.json"), None):
        return path
    if path.suffix != ".json" or not path.is_file():
        raise EvidenceError(f"{page}: there is no {file}; name a JSON file of benchmarks/results.")
    return json.loads(path.read_text())


def rewritten(text: str, root: Path, page: str) -> str:
    """The page with all its tables drawn anew."""
    pieces, at = [], 0
    for one in marked(text, page):
        renderers = discover()
        if one.name not in renderers:
            raise EvidenceError(
                f"{page}: nothing draws a table {one.name!r}; register it in a module of"
                f" benchmarks/evidence. There are: {', '.join(sorted(renderers))}."
            )
        lines = renderers[one.name](*(load(root, file, page) for file in one.files))
        drawn = "\n".join(line.rstrip() for line in lines).strip("\n")
        pieces += [text[at : one.start], f"\n\n{drawn}\n\n"]
        at = one.stop
    return "".join([*pieces, text[at:]])


def unmarked(text: str, page: str) -> list[int]:
    """The numbers of the lines that are rows of figures outside of comments. The row of heads
    counts, too: a table may have members or passes as its columns.
    """
    spans = [(one.start, one.stop) for one in marked(text, page)]
    found, at = [], 0
    for number, line in enumerate(without_code(text).split("\n"), 1):
        inside = any(start <= at < stop for start, stop in spans)
        if line.startswith("|") and not inside:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if any(FIGURE.match(cell) for cell in cells):
                found.append(number)
        at += len(line) + 1
    return found
