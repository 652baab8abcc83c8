"""What draws tables, by name; modules of this package register it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import benchmarks.evidence

Renderer = Callable[..., Iterable[str]]  # takes the loaded files, in the order of the comment
Figure = TypeVar("Figure", bound=Callable[..., str])
Draw = TypeVar("Draw", bound=Renderer)


class EvidenceError(ValueError):
    """A table that cannot be written: what, where and what to do."""


@dataclass(frozen=True)
class Claim:
    """A row of the overview.

    subject: the table it belongs to. words: what is claimed. page: of docs/evidence, with the
    heading if it has one. figure: takes the loaded files of that table.
    """

    subject: str
    words: str
    page: str
    figure: Callable[..., str]


renderers: dict[str, Renderer] = {}
claims: list[Claim] = []


def table(name: str) -> Callable[[Draw], Draw]:
    """Register a function of loaded files that returns the lines of a table."""
    if " from " in name:
        raise EvidenceError(f"The name {name!r} of a table holds ' from '; choose another.")
    if name in renderers:
        raise EvidenceError(f"There is a table {name!r} already; choose another name.")

    def register(function: Draw) -> Draw:
        renderers[name] = function
        return function

    return register


def claim(subject: str, words: str, page: str) -> Callable[[Figure], Figure]:
    """Register a row of the overview; the function takes the loaded files of its table, which is
    named "overview, SUBJECT", and returns the figure.
    """

    def register(function: Figure) -> Figure:
        if f"overview, {subject}" not in renderers:
            table(f"overview, {subject}")(lambda *results: overview(subject, results))
        claims.append(Claim(subject, words, page, function))
        return function

    return register


def overview(subject: str, results: Iterable[Any]) -> list[str]:
    """The claims of a subject, one row each: what is claimed, the figure, and its page."""
    loaded = list(results)
    lines = ["| claim | measured | page |", "|---|---|---|"]
    for each in claims:
        if each.subject == subject:
            title = each.page.split(".")[0].replace("_", " ")
            lines.append(f"| {each.words} | {each.figure(*loaded)} | [{title}]({each.page}) |")
    return lines


def discover() -> dict[str, Renderer]:
    """All renderers, of every module of this package."""
    for module in pkgutil.iter_modules(benchmarks.evidence.__path__):
        if module.name != "write":
            importlib.import_module(f"benchmarks.evidence.{module.name}")
    return renderers
