"""The uninformed control: random points as far from the start as the solutions are, which tells
what the solutions themselves contribute.

    theta_0l + |theta*_l - theta_0l| e_l,    e_l uniform on the unit sphere of the group l

If being repelled from these does as well, the gain comes from being pushed away from the start at
all, not from knowing where the solutions are.
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
    """A displacement of the same length as `way` in every group, on the CPU, in a random direction
    that seed and `number` decide.

    members: (groups, tensors), 1 where a tensor belongs to the group and else 0.
    """
    generator = torch.Generator().manual_seed(
        int(np.random.default_rng([seed, 1, number]).integers(2**62))
    )
    dtype = wide(way)
    drawn = [torch.randn(tensor.shape, generator=generator, dtype=dtype) for tensor in way]
    members = members.to("cpu", dtype)
    lengths = by_group(squares([tensor.cpu() for tensor in way]), members)
    ratio = (lengths / by_group(squares(drawn), members)).sqrt()[members.argmax(0)]
    return [
        torch.empty_like(own, device="cpu").copy_(tensor * r)
        for tensor, own, r in zip(drawn, way, ratio, strict=True)
    ]
