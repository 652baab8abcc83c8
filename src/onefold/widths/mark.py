"""What a resized network notes of itself, from which the same one can be made again.

Plain data on the network itself: the widths, the shapes that its tensors had before, and every
size in a module's attributes that is another one now.
"""

from __future__ import annotations

from collections.abc import Mapping

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

    Args:
        network: the new network.
        before: the network that it was made from.
        spec: symmetries of `before`.
        widths: group name -> new number of units.
        said: whether its config says its widths.
    """
    old = mark_of(before)
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
            "config": {**old.get("config", {}), **changed_config(before, network)},
            "said": said,
        },
    )
