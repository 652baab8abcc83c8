"""What draws tables, by name; modules of this package register it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import benchmarks.evidence

Renderer = Callable[..., Iterable[str]]  # takes the loaded files, in the order of the comment
Figure = TypeVar("Figure", bound=Callable[..., str])
Draw = TypeVar("Draw", bound=Renderer)


class EvidenceError(ValueError):
    """A table that cannot be written: what, where and what to do."""


@dataclass(frozen=True)
class Claim:
    """A row of the overview.

    words: what is claimed. page: of docs/evidence, with the heading if there is one. files: below
    benchmarks/results. figure: takes these files, loaded, and returns what was measured in words.
    """

    words: str
    page: str
    files: tuple[str, ...]
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


def claim(words: str, page: str, *files: str) -> Callable[[Figure], Figure]:
    """Register a row of the overview: a function of the files that returns the figure in words."""

    def register(function: Figure) -> Figure:
        claims.append(Claim(words, page, files, function))
        return function

    return register


def discover() -> dict[str, Renderer]:
    """All renderers, of every module of this package."""
    for module in pkgutil.iter_modules(benchmarks.evidence.__path__):
        if module.name != "write":
            importlib.import_module(f"benchmarks.evidence.{module.name}")
    return renderers
