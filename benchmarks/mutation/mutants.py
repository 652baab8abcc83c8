"""Make mutants of a source file: single changes of its arithmetic, which its tests should notice.

Changed are arithmetic operators, comparisons, boolean operators, numbers and truth values (axes
among them), signs, least and greatest, and absolute values. Left alone are docstrings, annotations,
asserts, errors, warnings, what only prints, zip's `strict`, and questions whether something is
None.

The choice among all mutants of a file depends on the seed and on the text of each mutant, so that a
change elsewhere in the file keeps it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
}
COMPARISONS = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
EXTREMES = {
    "min": "max",
    "amin": "amax",
    "minimum": "maximum",
    "argmin": "argmax",
    "clamp_min": "clamp_max",
    "sum": "mean",
    "logical_and": "logical_or",
}
SWAPPED = {**EXTREMES, **{b: a for a, b in EXTREMES.items()}}
PRINTING = {"__repr__", "__str__", "extra_repr"}
WARNING = {"warn", "warning"}


@dataclass(frozen=True)
class Mutant:
    """One change. start, end: offsets in the file's text. line: counted from 1, of the start."""

    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int

    def apply(self, text: str) -> str:
        """The whole file with the change."""
        return text[: self.start] + self.after + text[self.end :]

    def shown(self, text: str) -> tuple[str, str]:
        """The line or lines that it changes, as they are and as they become."""
        first = text.rfind("\n", 0, self.start) + 1
        last = text.find("\n", self.end)
        last = len(text) if last < 0 else last
        changed = text[first : self.start] + self.after + text[self.end : last]
        return text[first:last].strip(), changed.strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class _Source:
    """A text and the offsets of its syntax tree's nodes."""

    def __init__(self, text: str) -> None:
        self.text, self.starts = text, [0]
        for row in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(row))
        self.rows = text.splitlines(keepends=True)

    def _offset(self, line: int, column: int) -> int:
        row = self.rows[line - 1].encode()[:column].decode() if line <= len(self.rows) else ""
        return self.starts[line - 1] + len(row)

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where the node begins and ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def mutant(self, kind: str, start: int, end: int, after: str) -> Mutant:
        """The change of what stands between two offsets."""
        line = self.text.count("\n", 0, start) + 1
        return Mutant(line, kind, self.text[start:end], after, start, end)

    def between(self, left: ast.expr, right: ast.expr, token: str) -> tuple[int, int]:
        """Where an operator stands between its operands."""
        begin, end = self.span(left)[1], self.span(right)[0]
        word = rf"\b{token}\b" if token[0].isalpha() else re.escape(token)
        found = re.search(word.replace(" ", r"\s+"), self.text[begin:end])
        assert found is not None, self.text[begin:end]
        return begin + found.start(), begin + found.end()


def mutants(text: str) -> list[Mutant]:
    """All mutants of a file, in the order of their lines."""
    source, found = _Source(text), []
    tree = ast.parse(text)
    plain = ast.dump(tree)
    for node in _numeric(tree):
        found += list(_of(node, source))
    unique = {(m.start, m.end, m.after): m for m in found}
    valid = []
    for m in unique.values():
        try:
            changed = ast.dump(ast.parse(m.apply(text)))
        except SyntaxError:
            continue
        if changed != plain:
            valid.append(m)
    return sorted(valid, key=lambda m: (m.start, m.end, m.after))


def chosen(text: str, name: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a file by the seed, or all if there are fewer; at most two of a line."""
    every = mutants(text)
    seen: dict[tuple[str, str], int] = {}
    ranked = []
    for m in every:
        content = m.shown(text)
        number = seen[content] = seen.get(content, -1) + 1
        key = "\0".join([str(seed), name, *content, str(number)])
        ranked.append((hashlib.sha256(key.encode()).hexdigest(), m))
    of_line: dict[int, int] = {}
    taken: list[Mutant] = []
    for _, m in sorted(ranked, key=lambda pair: pair[0]):
        if len(taken) < count and of_line.get(m.line, 0) < 2:
            of_line[m.line] = of_line.get(m.line, 0) + 1
            taken.append(m)
    return sorted(taken, key=lambda m: (m.start, m.end, m.after))


def _numeric(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """All nodes of the tree but those that no test needs to notice."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name in PRINTING:
            return
        below: list[ast.AST] = [node.args, *node.body]
    elif isinstance(node, ast.ClassDef):
        below = list(node.body)
    elif isinstance(node, ast.AnnAssign):
        below = [] if node.value is None else [node.value]
    elif isinstance(node, ast.arg):
        below = []
    elif isinstance(node, ast.Call):
        if _name(node.func) in WARNING:
            return
        below = list(ast.iter_child_nodes(node))
    elif (isinstance(node, ast.keyword) and node.arg == "strict") or (
        isinstance(node, ast.Assign) and _is_alias(node.value)
    ):
        below = []
    else:
        below = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for child in below:
        yield from _numeric(child)


def _is_alias(value: ast.expr) -> bool:
    """Whether this is a type by another name: Literal["a", "b"], list[Tensor], A | B."""
    if isinstance(value, ast.Subscript):
        known = {"Literal", "list", "tuple", "dict", "Callable", "Sequence", "Mapping"}
        return _name(value.value) in known
    return isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr)


def _name(node: ast.expr) -> str:
    """The last part of a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _of(node: ast.expr | ast.stmt, source: _Source) -> Iterator[Mutant]:
    """The changes of one node."""
    start, end = source.span(node)
    if isinstance(node, ast.BinOp):
        yield from _arithmetic(node, source)
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        token, other = ARITHMETIC[type(node.op)]
        at = source.between(node.target, node.value, token + "=")
        yield source.mutant("arithmetic", *at, other + "=")
    elif isinstance(node, ast.Compare):
        operands = pairwise([node.left, *node.comparators])
        for (left, right), operator in zip(operands, node.ops, strict=True):
            if type(operator) not in COMPARISONS:
                continue
            token, others = COMPARISONS[type(operator)]
            at = source.between(left, right, token)
            for other in others:
                yield source.mutant("comparison", *at, other)
    elif isinstance(node, ast.BoolOp):
        token, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            yield source.mutant("boolean", *source.between(left, right, token), other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        kind = "sign" if isinstance(node.op, ast.USub) else "boolean"
        inner = source.span(node.operand)[0]
        yield source.mutant(kind, start, inner, "(" * source.text[start:inner].count("("))
    elif isinstance(node, ast.Constant):
        for other in _constants(node.value):
            yield source.mutant("constant", start, end, other)
    elif isinstance(node, ast.Call):
        yield from _call(node, source)


def _arithmetic(node: ast.BinOp, source: _Source) -> Iterator[Mutant]:
    if isinstance(node.op, ast.MatMult):
        (a, b), (c, d) = source.span(node.left), source.span(node.right)
        if source.text[b:c].strip() == "@":
            left, right = source.text[a:b], source.text[c:d]
            swapped = f"({right}) @ ({left})"
            yield source.mutant("arithmetic", a, d, swapped)
    elif isinstance(node.op, ast.BitAnd | ast.BitOr):
        token, other = ("&", "|") if isinstance(node.op, ast.BitAnd) else ("|", "&")
        yield source.mutant("boolean", *source.between(node.left, node.right, token), other)
    elif type(node.op) in ARITHMETIC and not _is_text(node.left) and not _is_text(node.right):
        token, other = ARITHMETIC[type(node.op)]
        yield source.mutant("arithmetic", *source.between(node.left, node.right, token), other)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _constants(value: object) -> list[str]:
    """What a number or truth value becomes."""
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return ["1"] if value == 0 else ["0", "2"] if value == 1 else [str(value + 1)]
    if isinstance(value, float):
        return ["1.0"] if value == 0 else [repr(2 * value)]
    return []


def _call(node: ast.Call, source: _Source) -> Iterator[Mutant]:
    """Least for greatest, sums for means, and values without their absolute."""
    name = _name(node.func)
    start, end = source.span(node.func)
    if name in SWAPPED and (isinstance(node.func, ast.Attribute) or name in ("min", "max")):
        yield source.mutant("extreme", end - len(name), end, SWAPPED[name])
    if name == "abs" and isinstance(node.func, ast.Attribute) and not node.args:
        yield source.mutant("sign", end - len(".abs"), source.span(node)[1], "")
    if name == "clamp_min" and isinstance(node.func, ast.Attribute):
        yield source.mutant("sign", end - len("clamp_min"), source.span(node)[1], "abs()")
    if name == "abs" and isinstance(node.func, ast.Name):
        yield source.mutant("sign", start, end, "")
