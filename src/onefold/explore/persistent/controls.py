"""The uninformed control: random points as far from the start as the solutions are.

    theta_0l + |theta*_l - theta_0l| e_l,    e_l uniform on the unit sphere of the group l

The control tells what the solutions themselves contribute. If repulsion from these points does as
well, the gain comes from the push away from the start, not from knowledge of the solutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from onefold.explore.persistent.distances import by_group, squares, wide


def random_displacement(
    way: Sequence[Tensor], members: Tensor, seed: int, number: int
) -> list[Tensor]:
    """A displacement of the same length as `way` in every group, in a random direction.

    Args:
        way: a solution less the start, one tensor for each parameter.
        members: (groups, tensors), 1 if a tensor belongs to the group, else 0.
        seed: decides the direction, together with `number`.
        number: of the solution.

    Returns:
        Tensors shaped as `way` and of its dtypes, on the CPU.
    """
    generator = torch.Generator().manual_seed(
        int(np.random.default_rng([seed, 1, number]).integers(2**62))
    )
    dtype = wide(way)
    drawn = [torch.randn(tensor.shape, generator=generator, dtype=dtype) for tensor in way]
    members = members.to("cpu", dtype)
    lengths = by_group(squares([tensor.cpu() for tensor in way]), members)
    ratio = (lengths / by_group(squares(drawn), members)).sqrt()[members.max(0).indices]
    return [
        torch.empty_like(own, device="cpu").copy_(tensor * r)
        for tensor, own, r in zip(drawn, way, ratio, strict=True)
    ]
