"""Learned scales of norms moved into the weights behind them, so that features may be rotated.

    W (w * n + b)  =  (W diag(w)) (n + b / w)

The scale becomes ones and the shift b / w. The function stays the same. The result is the network
for which `Group.folded` holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.spec import SymmetrySpec


def fold_scales(state: Mapping[str, Tensor], spec: SymmetrySpec) -> dict[str, Tensor]:
    """The state dict with all scales of `spec.scales` folded into the weights behind.

    Args:
        state: state dict of the network; it is left as it is.
        spec: symmetries of the network.

    Returns:
        A new dict. Changed tensors are new, in their own dtypes, computed in float64.

    Raises:
        SymmetryError: a tensor is missing, or a scale is zero at a coordinate whose shift is not.
    """
    result = dict(state)
    for fold in spec.scales:
        consumers = [name for name, _ in fold.consumers]
        names = [fold.scale, *([fold.shift] if fold.shift else []), *consumers]
        if missing := [name for name in names if name not in state]:
            raise SymmetryError(
                f"The state dict lacks '{missing[0]}', which the fold of '{fold.scale}' must"
                " change; pass the whole state dict."
            )
        scale = result[fold.scale].detach().to(torch.float64).reshape(-1)
        if fold.shift is not None:
            shift = result[fold.shift]
            if bool(((scale == 0) & (shift.detach() != 0)).any()):
                raise SymmetryError(
                    f"'{fold.scale}' has zeros where '{fold.shift}' has none, so it cannot be"
                    " folded into the weights behind it."
                )
            divisor = torch.where(scale == 0, 1.0, scale)
            quotient = shift.detach().to(torch.float64) / divisor
            result[fold.shift] = torch.where(scale == 0, 0.0, quotient).to(shift.dtype)
        for name, axis in fold.consumers:
            weight = result[name].detach()
            shape = [-1 if k == axis else 1 for k in range(weight.dim())]
            result[name] = (weight.to(torch.float64) * scale.reshape(shape)).to(weight.dtype)
        result[fold.scale] = torch.ones_like(result[fold.scale])
    return result


def is_folded(state: Mapping[str, Tensor], spec: SymmetrySpec) -> bool:
    """Whether all scales that can be folded are ones already."""
    return all(bool((state[fold.scale] == 1).all()) for fold in spec.scales if fold.scale in state)
