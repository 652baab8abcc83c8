"""Learned scales of norms that can be moved into the weights behind them.

A norm's scale w belongs to single coordinates and lets no rotation of the features pass. If nothing
but linear weights W reads what it scales, W diag(w) can absorb it; with w = 1 the rotation is free.
So an RMS norm lets all orthogonal maps pass, and a layer norm those that fix the mean, once their
scales are folded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor, fx

from onefold.layers import ScaleFold
from onefold.symmetry.axes import Slot
from onefold.symmetry.rules.call import Facts, ScaleSite, operator_name
from onefold.symmetry.rules.pointwise import IDENTITIES
from onefold.symmetry.terms import FOLDED, Atom, Term, atoms, resolve

# Operators that leave the scaled axis as it is, but may move it.
_TRANSPARENT = {
    *IDENTITIES,
    "view",
    "reshape",
    "flatten",
    "permute",
    "transpose",
    "unsqueeze",
    "squeeze",
    "select",
    "slice",
    "index",
    "roll",
}
_TRANSPARENT |= {"mean", "sum"}  # over other axes
_READERS = ("linear", "addmm", "mm", "matmul")
_SCALES = ("scale", "depthwise")


def folds_of(facts: Facts) -> dict[str, tuple[ScaleFold, Term]]:
    """Every scale that can be folded, by its tensor's name, with the term of its axis."""
    uses = Counter(name for node, name in facts.direct.items() for _ in node.users)
    folds: dict[str, tuple[ScaleFold, Term]] = {}
    for site in facts.scales:
        alone = uses[site.scale] == 1 and (site.shift is None or uses[site.shift] == 1)
        consumers = _consumers(facts, site, uses) if alone else None
        if consumers:
            fold = ScaleFold(site.scale, site.shift, tuple(consumers))
            folds[site.scale] = (fold, resolve(site.term))
    return folds


def folded_maps(
    atom: Atom, slots: Sequence[Slot], folds: Mapping[str, tuple[ScaleFold, Term]]
) -> frozenset[str]:
    """The classes of maps that an atom allows only once all scales on it are folded."""
    wanted = frozenset(
        kind for kind, token in FOLDED.items() if token in atom.maps and kind not in atom.maps
    )
    for slot in slots:
        foldable = slot.tensor in folds and atom in atoms(folds[slot.tensor][1])
        if slot.role in _SCALES and not foldable:
            return frozenset()
        if slot.role in ("mean", "variance", "other"):
            return frozenset()
    return wanted


def _consumers(facts: Facts, site: ScaleSite, uses: Counter[str]) -> list[tuple[str, int]] | None:
    """The weights, with the axis, that read the scaled features; None if anything else does."""
    found: list[tuple[str, int]] = []
    waiting = [site.node]
    while waiting:
        node = waiting.pop()
        for user in node.users:
            value = user.meta.get("val")
            if user.op == "call_function" and not isinstance(value, Tensor | list | tuple):
                continue  # a size, an assertion
            passes = operator_name(user) in _TRANSPARENT and user.all_input_nodes[0] is node
            if (passes or _weighs(facts, user, node, site.term)) and _holds(facts, user, site.term):
                waiting.append(user)
                continue
            weight = _read_by_weight(facts, user, node, site.term)
            if weight is None or uses[weight[0]] != 1:
                return None
            found.append(weight)
    return found


def _read_by_weight(
    facts: Facts, user: fx.Node, node: fx.Node, term: Term
) -> tuple[str, int] | None:
    """The weight, with the axis, by which an operator reads the features; None without one."""
    if operator_name(user) not in _READERS:
        return None
    consuming = [
        use
        for use in facts.uses
        if use.node is user and use.role == "consumer" and _same(use.term, term)
    ]
    if len(consuming) != 1 or consuming[0].axis is None:
        return None
    sources = user.all_input_nodes
    others_are_weights = all(source is node or source in facts.origin for source in sources)
    if sum(source is node for source in sources) != 1 or not others_are_weights:
        return None
    return consuming[0].tensor, consuming[0].axis


def _weighs(facts: Facts, user: fx.Node, node: fx.Node, term: Term) -> bool:
    """Whether the features are multiplied with a value that is constant along their axis.

    A mask of positions is an example.
    """
    name = operator_name(user)
    if name in ("mul", "div") and user.args[0] is node:
        return _weighs_by(facts, user, node, user.args[1], term)
    if name == "mul" and user.args[1] is node:
        return _weighs_by(facts, user, node, user.args[0], term)
    return False


def _weighs_by(facts: Facts, user: fx.Node, node: fx.Node, other: object, term: Term) -> bool:
    if not isinstance(other, fx.Node) or not isinstance(other.meta.get("val"), Tensor):
        return True
    axes, factor = facts.axes.get(user), facts.axes.get(other)
    if other is node or not axes or factor is None or isinstance(axes[0], list | None):
        return False
    at = next((k for k in range(-len(axes), 0) if _same(axes[k], term)), 0)
    return at < 0 and (len(factor) < -at or other.meta["val"].shape[at] == 1)


def _holds(facts: Facts, node: fx.Node, term: Term) -> bool:
    """Whether exactly one axis of a node is the term."""
    axes = facts.axes.get(node)
    if not axes or isinstance(axes[0], list | None):
        return False
    return sum(_same(axis, term) for axis in axes) == 1


def _same(a: Term, b: Term) -> bool:
    return repr(resolve(a)) == repr(resolve(b))
