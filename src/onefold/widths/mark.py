"""What a resized network notes of itself, from which the same one can be made again.

Plain data on the network itself: the widths, the shapes that its tensors had before, and every
size in a module's attributes that is another one now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from onefold.symmetry.spec import SymmetrySpec
from onefold.weights.resized import MARK, mark_of
from onefold.widths.config import changed_config
from onefold.widths.copies import tensors_of
from onefold.widths.numbers import changed_sizes

VERSION = 1


def mark(
    network: nn.Module,
    before: nn.Module,
    spec: SymmetrySpec,
    widths: Mapping[str, int],
    *,
    said: bool,
) -> None:
    """Note on a network how it was made from another one, which may have been resized as well.

    A network that has the widths again that it had at first has no note.

    Args:
        network: the new network.
        before: the network that it was made from.
        spec: symmetries of `before`.
        widths: group name -> new number of units.
        said: whether its config says its widths.
    """
    old = mark_of(before)
    was, now = tensors_of(before), tensors_of(network)
    shapes = {name: list(tensor.shape) for name, tensor in was.items()} | old.get("shapes", {})
    full = {name: spec.group(name).size for name in widths} | old.get("before", {})
    new = {n: w for n, w in {**old.get("widths", {}), **widths}.items() if w != full[n]}
    vars(network).pop(MARK, None)
    if not new:
        return
    sizes = _together(old.get("sizes", {}), {})
    for name, attribute, value in changed_sizes(before, network):
        sizes.setdefault(name, {})[attribute] = value
    noted = {
        "version": VERSION,
        "class": type(network).__name__,
        "widths": new,
        "before": {name: full[name] for name in new},
        "shapes": {n: shape for n, shape in shapes.items() if shape != list(now[n].shape)},
        "sizes": sizes,
        "config": _together(old.get("config", {}), changed_config(before, network)),
        "said": said,
    }
    setattr(network, MARK, noted)


def _together(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries by module and name, the new ones above the old ones."""
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in {**old, **new}}
