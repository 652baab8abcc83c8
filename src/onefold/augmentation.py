"""Random changes of images that leave what they show as it is: flips, shifts, mixtures.

Every image has draws of its own. They are made on the CPU, so that they are the same on every
device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 1 / 8  # of an image's height: 4 pixels of 32


def flipped(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Images (n, c, h, w), each mirrored from left to right with probability one half.

    Args:
        images: of any dtype; they stay as they are.
        generator: of the draws; None for torch's own.
    """
    flips = torch.rand(len(images), generator=generator, dtype=torch.float32, device="cpu") < 0.5
    return torch.where(flips.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)


def shifted(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Images (n, c, h, w), each moved by up to an eighth of the height, zeros coming in.

    An image is padded with zeros by an eighth of its height, and a part of the old size is cut out.

    Args:
        images: of any dtype; they stay as they are.
        generator: of the draws; None for torch's own.
    """
    n, channels, height, width = images.shape
    margin = max(1, round(MARGIN * height))
    top, left = torch.randint(2 * margin + 1, (2, n), generator=generator, device="cpu")
    padded = functional.pad(images, [margin] * 4)
    places = (
        torch.arange(n)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        (top[:, None] + torch.arange(height))[:, None, :, None],
        (left[:, None] + torch.arange(width))[:, None, None, :],
    )
    return padded[tuple(place.to(images.device) for place in places)]


def mixed(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Images (n, ...), each mixed with another of them: a x + (1 - a) x', a uniform in [0, 1].

    Zhang, Cisse, Dauphin & Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv
    1710.09412), with the weights of Beyer et al. 2022 (arXiv 2106.05237).

    Args:
        images: of floating-point dtype; they stay as they are.
        generator: of the draws; None for torch's own.
    """
    others = torch.randperm(len(images), generator=generator, device="cpu").to(images.device)
    share = torch.rand(len(images), generator=generator, dtype=torch.float32, device="cpu")
    share = share.to(images).view(-1, *[1] * (images.dim() - 1))
    return share * images + (1 - share) * images[others]
