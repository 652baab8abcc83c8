"""Sizes that modules of any class keep in their attributes, found by what they counted before.

A whole number in a module's attributes counts an axis of the tensors inside, or a part of an axis:
`num_heads` the heads, `embed_dim` heads x features. All parts with as many coordinates are
candidates. If they agree on the new number, that is it. If they do not, the likeliest one is taken
(by name, as `num_heads`, then by how many parts agree), and the network is run with one after the
other (widths/search.py). The modules of one class keep their sizes alike, so a candidate
is a place within the module: the same one for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from onefold.symmetry.axes import Axes, Fixed, Live, Prod, Sum, Term
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.modules import own_attributes
from onefold.widths.sizes import new_size

Path = tuple[object, ...]  # tensor within the module, axis, and the part of the axis
Found = dict[Path, tuple[float, str]]  # place -> new value, and what it counts
# Names of numbers that are no widths, though they may be as large as one.
_OTHER = re.compile(
    r"(^|_)(n_?)?(depth|layers?|blocks?|stages?|kernel|strides?|padding|pads?|dilation|patch|img"
    r"|image|grid|window|shift|scale_factor|upscale|downscale|epsilon|eps|drop\w*|seed|ids?|idx"
    r"|index|max|min|position\w*|positions|length|len|seq|time|step|steps|vocab|classes|labels?"
    r"|reduction|ratio|expansion|version|beams?)(_|$)",
    re.IGNORECASE,
)
_SCALE = re.compile(r"scal|sqrt|norm_factor|temperature", re.IGNORECASE)
_POWERS = (-0.5, 0.5, -1.0)  # of a size, as scales of attention and of embeddings are
_CONTAINERS = ("_parameters", "_buffers", "_modules")


# Names that say that heads are counted, or the features of one.
_HEADS = re.compile(r"heads?$|^n_?head|_heads?(_|$)", re.IGNORECASE)
_FEATURES = re.compile(
    r"head_?(dim|size|width|channels)|(dim|size)_?(per_)?head|key_dim|d_kv|d_head|scal|sqrt"
    r"|norm_factor",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """A part of an axis.

    Attributes:
        before: its size before.
        after: its size now.
        kind: "heads", "features" (of a head), or "".
    """

    before: int
    after: int
    kind: str


@dataclass
class Holder:
    """One number in an attribute of a module, or in an entry of a tuple or list there.

    Attributes:
        module: name of the module in the network.
        owner: the module.
        name: name of the attribute.
        entry: place in the tuple or list; None for a number alone.
        before: its value in the network before.
    """

    module: str
    owner: nn.Module
    name: str
    entry: int | None
    before: float

    def set(self, value: float) -> None:
        """Give the attribute this value; a tuple stays one."""
        if self.entry is None:
            setattr(self.owner, self.name, value)
            return
        whole = getattr(self.owner, self.name)
        changed = [*whole[: self.entry], value, *whole[self.entry + 1 :]]
        if isinstance(whole, list):
            whole[:] = changed
        else:
            setattr(self.owner, self.name, type(whole)(changed))


@dataclass
class Choice:
    """One attribute of all modules of a class, and the values that it may take in them.

    Attributes:
        holders: where it is.
        options: each the values of all holders, the likeliest first.
        taken: which option the modules have now.
    """

    holders: list[Holder]
    options: list[tuple[float, ...]] = field(default_factory=list)
    taken: int = -1

    def take(self, number: int) -> None:
        """Set the values of an option."""
        self.taken = number
        for holder, value in zip(self.holders, self.options[number], strict=True):
            holder.set(value)


def choices_of(model: nn.Module, spec: SymmetrySpec, widths: Mapping[str, int]) -> list[Choice]:
    """The attributes of a network's modules that may count something whose width changes.

    Args:
        model: the new network, whose attributes are still those of the old one.
        spec: symmetries of the old network.
        widths: group name -> new number of units.
    """
    heads = frozenset(name for group in spec.groups for name in group.over)
    parts = {name: parts_of(terms, widths, heads) for name, terms in spec.axes.items()}
    kinds: dict[tuple[object, ...], list[tuple[Holder, Found]]] = {}
    for name, module in model.named_modules():
        inside = _inside(name, parts)
        if not any(part.before != part.after for part in inside.values()):
            continue
        for holder in _holders(name, module):
            found = _candidates(holder.before, inside)
            if found:
                key = (type(module), holder.name, holder.entry, isinstance(holder.before, float))
                kinds.setdefault(key, []).append((holder, found))
    return [choice for met in kinds.values() for choice in _choices(met)]


def _choices(met: Sequence[tuple[Holder, Found]]) -> Iterator[Choice]:
    """One choice for all holders if one place serves them all, else one for each."""
    first = met[0][1]
    shared = [path for path in first if all(path in found for _, found in met[1:])]
    if not shared and len(met) > 1:
        for one in met:
            yield from _choices([one])
        return
    holders = [holder for holder, _ in met]
    unchanged = tuple(holder.before for holder in holders)
    wanted = _wanted(holders[0].name)
    votes: dict[tuple[float, ...], float] = {}
    for path in shared:
        values = tuple(found[path][0] for _, found in met)
        named = wanted and first[path][1] == wanted  # what the name says counts more
        votes[values] = votes.get(values, 0) + (1000 if named else 1)
    if set(votes) <= {unchanged}:
        return
    if _OTHER.search(holders[0].name):
        votes[unchanged] = 1e6
    votes.setdefault(unchanged, 0)
    order = sorted(votes, key=lambda values: (-votes[values], values == unchanged))
    yield Choice(holders, order)


def _wanted(name: str) -> str:
    """What the name of an attribute says that it counts; "" if it says nothing."""
    if _FEATURES.search(name):
        return "features"
    return "heads" if _HEADS.search(name) else ""


def _candidates(before: float, inside: Mapping[Path, Part]) -> Found:
    """Place -> new value and what it is, of the parts of axes that a number counts."""
    if isinstance(before, int):
        return {
            path: (part.after, part.kind) for path, part in inside.items() if part.before == before
        }
    found: Found = {}
    for path, part in inside.items():
        for power in _POWERS:
            if abs(part.before**power - before) <= 1e-12 * abs(before):
                found[path, power] = (part.after**power, part.kind)
    return found


def _holders(name: str, module: nn.Module) -> Iterator[Holder]:
    """The numbers from 2 on in a module's attributes, and scales."""
    known = own_attributes(module)
    for attribute, value in list(vars(module).items()):
        if attribute in known or attribute in _CONTAINERS or isinstance(value, bool):
            continue
        scale = type(value) is float and value > 0 and _SCALE.search(attribute)
        if scale or (type(value) is int and value > 1):
            yield Holder(name, module, attribute, None, value)
        elif isinstance(value, tuple | list) and len(value) <= 8:
            for k, entry in enumerate(value):
                if type(entry) is int and entry > 1:
                    yield Holder(name, module, attribute, k, entry)


def _inside(name: str, parts: Mapping[str, dict[Path, Part]]) -> dict[Path, Part]:
    """The parts of axes within a module, or within the nearest one around it that has tensors."""
    while True:
        prefix = f"{name}." if name else ""
        found: dict[Path, Part] = {}
        for tensor, of_tensor in parts.items():
            if tensor.startswith(prefix):
                found |= {(tensor[len(prefix) :], *path): part for path, part in of_tensor.items()}
        if found or not name:
            return found
        name = name.rpartition(".")[0]


def parts_of(
    axes: Axes, widths: Mapping[str, int], heads: Collection[str] = ()
) -> dict[Path, Part]:
    """(axis, place in its term) -> the part, of all parts of all axes.

    Args:
        axes: terms of a tensor's axes.
        widths: group name -> new number of units.
        heads: groups that count heads.
    """
    found: dict[Path, Part] = {}
    for axis, term in enumerate(axes):
        for path, part, kind in _subterms(term, heads, ""):
            place: Path = (axis, *path)
            found[place] = Part(part.size, new_size(part, widths), kind)
    return found


def _subterms(term: Term, heads: Collection[str], kind: str) -> Iterator[tuple[Path, Term, str]]:
    """A term, its parts, and neighbours among the factors and segments, with what they count."""
    if isinstance(term, Live) and term.group in heads:
        kind = "heads"
    yield (), term, kind
    if isinstance(term, Live | Fixed):
        return
    behind = False  # behind the heads of a product are their features
    for k, part in enumerate(term.parts):
        for path, inner, counted in _subterms(part, heads, "features" if behind else ""):
            yield (k, *path), inner, counted
        headed = isinstance(part, Live) and part.group in heads
        behind = isinstance(term, Prod) and (behind or headed)
    if isinstance(term, Prod | Sum):
        count = len(term.parts)
        for start in range(count):
            for stop in range(start + 2, count + 1):
                if stop - start < count:
                    yield ((start, stop),), type(term)(term.parts[start:stop]), ""
