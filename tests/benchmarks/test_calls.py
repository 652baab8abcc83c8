"""Benchmarks and examples call the library as it is: its names exist, and take these keywords.

Most of these scripts run for hours on data, so no test runs them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in ("benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
MISSING = object()


def imported(module: str, name: str) -> Any:
    """What `from module import name` gives, or MISSING."""
    try:
        value = getattr(importlib.import_module(module), name, MISSING)
        return importlib.import_module(f"{module}.{name}") if value is MISSING else value
    except ImportError:
        return MISSING


def faults(text: str) -> Iterator[str]:
    """Names of the library that do not exist, and keywords that they do not take."""
    tree = ast.parse(text)
    known: dict[str, Any] = {"onefold": importlib.import_module("onefold")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onefold"):
            for alias in node.names:
                value = imported(str(node.module), alias.name)
                known[alias.asname or alias.name] = value
                if value is MISSING:
                    yield f"{node.module} has no {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts = dotted(node.func).split(".")
            target, name = known.get(parts[0], MISSING), ".".join(parts)
            for part in parts[1:] if inspect.ismodule(target) else ():
                inside = inspect.ismodule(target)
                target = imported(target.__name__, part) if inside else getattr(target, part, None)
                if target is MISSING:
                    yield f"line {node.lineno}: there is no {name}"
                    break
            if isinstance(target, type) or inspect.isfunction(target):
                yield from (f"line {node.lineno}: {fault}" for fault in refused(name, target, node))


def dotted(node: ast.expr) -> str:
    """The dotted name that an expression is, or ""."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def refused(name: str, target: Callable[..., Any], call: ast.Call) -> Iterator[str]:
    """The keywords of a call that its target does not take."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    yield from (
        f"{name} takes no {keyword.arg}"
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in parameters
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_calls_fit_the_library(script: Path) -> None:
    assert list(faults((ROOT / script).read_text())) == []


def test_the_check_sees_what_is_wrong() -> None:
    text = "import onefold\nfrom onefold.alignment import align\nfrom onefold.fold import soap\n"
    text += "onefold.merge([], spec=1)\nalign([], targets=False)\nonefold.measure.ClassPool()\n"
    assert list(faults(text)) == [
        "onefold.fold has no soap",
        "line 4: onefold.merge takes no spec",
        "line 5: align takes no targets",
        "line 6: there is no onefold.measure.ClassPool",
    ]
