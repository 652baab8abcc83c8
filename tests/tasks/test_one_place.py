"""What only some tasks know stands in `tasks`, or in a module that says it is for classifiers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onefold

ROOT = Path(onefold.__file__).parent
CALLS = {"softmax", "log_softmax", "argmax", "cross_entropy", "kl_div", "logsigmoid", "sigmoid"}
SCORES = {"accuracy", "nll", "ece", "brier"}
OTHER = (  # where these calls are about something else than answers
    "symmetry/rules",  # operators inside networks
    "alignment/matchers",  # the best of some costs
    "fold/soft/gates.py",  # gates between 0 and 1
    "checkpoints/methods",  # weights, not answers
)
ABOVE = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if not path.relative_to(ROOT).as_posix().startswith(("tasks/", *OTHER))
]


def called(tree: ast.AST) -> set[str]:
    """The names of CALLS that a module calls."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            found |= {name} & CALLS
    return found


def read(tree: ast.AST) -> set[str]:
    """The scores of classifiers that a module reads as attributes."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in SCORES
    }


@pytest.mark.parametrize("path", ABOVE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_of_classifiers_says_so(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = called(tree) | read(tree)
    told = ast.get_docstring(tree) or ""
    assert not found or "classifier" in told, f"{path} calls or reads {sorted(found)}"


def test_the_search_finds_what_it_looks_for() -> None:
    tree = ast.parse("x = torch.softmax(y, 1)\nz = scores.accuracy\nw = F.cross_entropy(a, b)")
    assert called(tree) == {"softmax", "cross_entropy"}
    assert read(tree) == {"accuracy"}
    assert len(ABOVE) > 300
