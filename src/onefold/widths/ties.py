"""Groups that must have one width, as one number of a module counts them all."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from onefold.errors import WidthsError
from onefold.symmetry.axes import Axes, Prod, Sum, live_groups
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.sizes import leading, new_size, tied_by_cases
from onefold.widths.units import first_units


def tied_groups(model: nn.Module, spec: SymmetrySpec) -> list[frozenset[str]]:
    """Sets of groups that must have one width.

    `onefold.resize` gives the width of one of them to the others, if they have the same size before
    and none of their own is given. Such are the states of all layers and directions of nn.LSTM and
    its kind, the features of the heads of nn.MultiheadAttention, and groups that lie on one axis at
    different indices of another one.

    Args:
        model: the network.
        spec: its symmetries.
    """
    tied = tied_by_cases(spec)
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            names = _features_of_heads(_axes_in(spec, name))
            tied += [frozenset(names)] if len(names) > 1 else []
        if not isinstance(module, nn.RNNBase):
            continue
        for kind in ("weight_hh", "weight_hr"):
            names = set()
            for tensor, _ in module.named_parameters(recurse=False):
                axes = spec.axes.get(f"{name}.{tensor}" if name else tensor)
                if axes is not None and tensor.startswith(kind):
                    names |= set(live_groups(axes[1]))
            if len(names) > 1:
                tied.append(frozenset(names))
    return tied


def with_attention(
    model: nn.Module, spec: SymmetrySpec, units: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The units, with the features of the heads of nn.MultiheadAttention as many as fit.

    Such a module takes as many features as its heads have together. If what it takes gets another
    width, and its heads are given none of their own, each has a share of it.

    Raises:
        WidthsError: the heads do not divide what the module takes.
    """
    result = dict(units)
    for name, module in model.named_modules():
        if not isinstance(module, nn.MultiheadAttention):
            continue
        axes = _axes_in(spec, name)
        features = _features_of_heads(axes)
        into = axes.get("in_proj_weight", axes.get("q_proj_weight", ()))
        out = axes.get("out_proj.weight", ())
        if not into or not out or features & set(units):
            continue
        widths = {group: chosen.shape[-1] for group, chosen in result.items()}
        width = new_size(into[1], widths)
        heads = leading(out[1], int(module.num_heads), widths)
        if heads is None or width == new_size(out[1], widths):
            continue
        if width % heads:
            raise WidthsError(
                f"'{name}' (MultiheadAttention) would take {width} features with {heads} heads,"
                f" which do not divide them; give {', '.join(live_groups(into[1]))} another width."
            )
        for group in sorted(features):
            result[group] = first_units(spec.group(group), width // heads)
    return result


def same_heads(spec: SymmetrySpec, units: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The units, with other features of the same heads as many as those that are named.

    Code often has one number for the features that heads compare and for those that they sum.
    """
    result = dict(units)
    for name, chosen in units.items():
        group = spec.group(name)
        for other in spec.groups:
            alike = (other.over, other.size) == (group.over, group.size)
            if group.over and alike and other.name not in result:
                result[other.name] = first_units(other, chosen.shape[-1])
    return result


def _axes_in(spec: SymmetrySpec, module: str) -> dict[str, Axes]:
    """Tensor in a module -> its axes."""
    prefix = f"{module}." if module else ""
    return {
        name[len(prefix) :]: axes for name, axes in spec.axes.items() if name.startswith(prefix)
    }


def _features_of_heads(axes: Mapping[str, Axes]) -> set[str]:
    """The groups of the features of heads in nn.MultiheadAttention."""
    found: set[str] = set()
    rows = [axes[name][0] for name in axes if name.endswith("proj_weight")]
    rows += [axes["out_proj.weight"][1]] if "out_proj.weight" in axes else []
    for row in rows:
        for term in row.parts if isinstance(row, Sum) else (row,):
            if isinstance(term, Prod):
                found |= {name for part in term.parts[1:] for name in live_groups(part)}
    return found
