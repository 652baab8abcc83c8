"""Groups that must have one width, as one number of a module counts them all."""

from __future__ import annotations

from torch import nn

from onefold.symmetry.axes import live_groups
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.sizes import tied_by_cases


def tied_groups(model: nn.Module, spec: SymmetrySpec) -> list[frozenset[str]]:
    """Sets of groups that must have one width.

    `onefold.resize` gives the width of one of them to the others, if they have the same size before
    and none of their own is given. Such are the states of all layers and directions of nn.LSTM and
    its kind, and groups that lie on one axis at different indices of another one.

    Args:
        model: the network.
        spec: its symmetries.
    """
    tied = tied_by_cases(spec)
    for name, module in model.named_modules():
        if not isinstance(module, nn.RNNBase):
            continue
        for kind in ("weight_hh", "weight_hr"):
            names: set[str] = set()
            for tensor, _ in module.named_parameters(recurse=False):
                axes = spec.axes.get(f"{name}.{tensor}" if name else tensor)
                if axes is not None and tensor.startswith(kind):
                    names |= set(live_groups(axes[1]))
            if len(names) > 1:
                tied.append(frozenset(names))
    return tied
