"""Canvases: items of Fashion-MNIST on a noisy background, with masks and with lists of kinds.

An item has 20x20 of the canvas' 40x40 pixels, and a later one covers an earlier one. The background
is a smooth random surface; every pixel has noise of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.data import load_data
from benchmarks.tasks.examples import Examples, Parts, Sizes, joined
from benchmarks.tasks.registry import OTHERS

SIDE, ITEM = 40, 20  # pixels
INK = 0.12  # the brightness, of 1, from which a pixel belongs to its item


@dataclass(frozen=True)
class Recipe:
    """kinds: classes of Fashion-MNIST that are drawn, numbered anew in this order. shares: the
    kinds, so numbered, of the first and the second share. items: the least and the most on one
    canvas. masks: labels are masks, with 0 for the background and k + 1 for kind k; else whether
    each kind is there. noise: the deviation of a pixel, of a brightness of 1.
    """

    kinds: tuple[int, ...]
    shares: tuple[tuple[int, ...], tuple[int, ...]]
    items: tuple[int, int]
    masks: bool
    noise: float = 0.2


def canvases(recipe: Recipe, sizes: Sizes) -> Parts:
    """The parts of a data set, each of images that no other part has."""
    every = tuple(range(len(recipe.kinds)))
    rare = max(1, round(OTHERS * sizes.seen))
    seen = {"all": _drawn(recipe, "seen", every, sizes.seen, 0)}
    for number, name in enumerate(("first", "second")):
        own, other = recipe.shares[number], recipe.shares[1 - number]
        most = _drawn(recipe, "seen", own, sizes.seen - rare, 1 + 2 * number)
        seen[name] = joined(most, _drawn(recipe, "seen", other, rare, 2 + 2 * number), number)
    return Parts(
        seen,
        _drawn(recipe, "unlabelled", every, sizes.unlabelled, 5),
        _drawn(recipe, "choices", every, sizes.choices, 6),
        _drawn(recipe, "test", every, sizes.test, 7),
    )


@lru_cache(maxsize=8)
def _items(part: str, kinds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Items (n, 20, 20) between 0 and 1, and their kinds (n,)."""
    whole = getattr(load_data("fashion_mnist"), part)
    number = torch.full((10,), -1)
    number[list(kinds)] = torch.arange(len(kinds))
    kind = number[whole.labels]
    images = whole.images[kind >= 0][:8000]
    images = (images - images.min()) / (images.max() - images.min())
    small = F.interpolate(images, (ITEM, ITEM), mode="bilinear", antialias=True).squeeze(1)
    return small, kind[kind >= 0][:8000]


def _drawn(recipe: Recipe, part: str, kinds: tuple[int, ...], count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    items, kind = _items(part, recipe.kinds)
    usable = torch.nonzero(torch.isin(kind, torch.tensor(kinds))).flatten()
    smooth = torch.rand(count, 1, 5, 5, generator=generator)
    images = 0.6 * F.interpolate(smooth, (SIDE, SIDE), mode="bilinear", align_corners=True)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    present = torch.zeros(count, len(recipe.kinds))
    least, most = recipe.items
    for k in range(count):
        for _ in range(int(torch.randint(least, most + 1, (1,), generator=generator))):
            which = int(usable[torch.randint(len(usable), (1,), generator=generator)])
            top, left = torch.randint(SIDE - ITEM + 1, (2,), generator=generator).tolist()
            light = 0.5 + 0.5 * float(torch.rand(1, generator=generator))
            place = (slice(top, top + ITEM), slice(left, left + ITEM))
            ink = items[which] > INK
            images[k, 0][place] = torch.where(ink, light * items[which], images[k, 0][place])
            masks[k][place] = torch.where(ink, int(kind[which]) + 1, masks[k][place])
    for number in range(len(recipe.kinds)):
        present[:, number] = (masks == number + 1).flatten(1).sum(1) >= 20  # enough to be told
    images += recipe.noise * torch.randn(images.shape, generator=generator)
    labels = masks if recipe.masks else present
    return Examples({"images": (images - 0.35) / 0.3}, labels)
