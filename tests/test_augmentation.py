"""Changes of images: each has draws of its own, and the images stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from onefold.augmentation import flipped, mixed, shifted


def pictures(count: int) -> Tensor:
    return torch.arange(1.0, 1 + 2 * 8 * 8).view(1, 2, 8, 8).repeat(count, 1, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_flips_are_drawn_for_each_image() -> None:
    images = pictures(200)
    result = flipped(images, seeded())
    mirrored = [torch.equal(image, images[0].flip(-1)) for image in result]
    kept = [torch.equal(image, images[0]) for image in result]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_shifts_are_of_an_eighth_in_both_directions() -> None:
    images = pictures(300)
    padded = torch.nn.functional.pad(images[0], [1] * 4)
    places = {(y, x): padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)}
    found = [
        next(place for place, own in places.items() if torch.equal(own, image))
        for image in shifted(images, seeded())
    ]
    assert set(found) == set(places)


def test_a_mixture_lies_between_two_images_of_the_batch() -> None:
    images = torch.eye(40).view(40, 1, 5, 8)  # pixel k is image k's alone
    result = mixed(images, seeded()).flatten(1)
    torch.testing.assert_close(result.sum(1), torch.ones(40))
    assert (result >= 0).all()
    assert (result.count_nonzero(1) <= 2).all()
    own = result.diagonal()[result.count_nonzero(1) == 2]
    assert own.min() < 0.2 < 0.8 < own.max()


@pytest.mark.parametrize("change", [flipped, shifted, mixed])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_same_seed_gives_the_same_bits_and_inputs_stay(
    change: Callable[[Tensor, torch.Generator], Tensor], dtype: torch.dtype
) -> None:
    images = torch.randn(30, 3, 8, 16, generator=seeded(), dtype=torch.float32).to(dtype)
    before = images.clone()
    first, again = change(images, seeded(3)), change(images, seeded(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, change(images, seeded(4)))
    assert (first.shape, first.dtype) == (images.shape, dtype)
    assert torch.equal(images, before)
