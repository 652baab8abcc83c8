"""What a resized network notes of itself, from which the same one can be made again.

Plain data on the network itself: the widths, the shapes that its tensors had before, and every
size in a module's attributes that is another one now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from onefold.symmetry.spec import SymmetrySpec
from onefold.weights.resized import MARK, mark_of
from onefold.widths.copies import tensors_of

VERSION = 1
_INNER = ("_parameters", "_buffers", "_modules", "training")


def mark(
    network: nn.Module, before: nn.Module, spec: SymmetrySpec, widths: Mapping[str, int]
) -> None:
    """Note on a network how it was made from another one, which may have been resized as well.

    Args:
        network: the new network.
        before: the network that it was made from.
        spec: symmetries of `before`.
        widths: group name -> new number of units.
    """
    old = mark_of(before)
    stored = before.state_dict(keep_vars=True)
    was, now = tensors_of(before), tensors_of(network)
    shapes = {name: list(t.shape) for name, t in was.items() if t.shape != now[name].shape}
    sizes = {name: dict(values) for name, values in old.get("sizes", {}).items()}
    for name, attribute, value in changed_sizes(before, network):
        sizes.setdefault(name, {})[attribute] = value
    full = {name: spec.group(name).size for name in widths}
    setattr(
        network,
        MARK,
        {
            "version": VERSION,
            "class": type(network).__name__,
            "widths": {**old.get("widths", {}), **widths},
            "before": {**full, **old.get("before", {})},
            "shapes": {**shapes, **old.get("shapes", {})},
            "sizes": sizes,
            "buffers": sorted({*old.get("buffers", ()), *(n for n in shapes if n not in stored)}),
        },
    )


def changed_sizes(before: nn.Module, after: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """Yield (module, attribute, new value) of every number, or row of numbers, that differs."""
    new = dict(after.named_modules(remove_duplicate=False))
    for name, module in before.named_modules(remove_duplicate=False):
        theirs = vars(new[name])
        for attribute, value in vars(module).items():
            if attribute in _INNER or not is_size(value) or attribute not in theirs:
                continue
            if is_size(theirs[attribute]) and theirs[attribute] != value:
                found = theirs[attribute]
                yield name, attribute, list(found) if isinstance(found, tuple) else found


def is_size(value: Any) -> bool:
    """Whether a value is a number, or a tuple or list of whole numbers."""
    if isinstance(value, tuple | list):
        return bool(value) and all(type(entry) is int for entry in value)
    return type(value) in (int, float)
