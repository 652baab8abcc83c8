"""Images in memory: some of them held out, and several data one after the other."""

from __future__ import annotations

import pytest
import torch

from onefold.errors import DataError
from onefold.sources.loader import Chained, ImageBatches, Images, hold_out


def numbered(count: int) -> ImageBatches:
    """Images that hold their own number."""
    inputs = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2)
    labels = torch.arange(count) % 3
    return ImageBatches(Images(inputs, labels, 3, (0.5,), (2.0,), ("a", "b", "c")), 4)


def numbers(data: ImageBatches) -> list[int]:
    return [int(value) for value in data.images.inputs[:, 0, 0, 0]]


@pytest.mark.parametrize(("count", "share", "held"), [(10, 0.2, 2), (11, 0.5, 6), (3, 0.4, 1)])
def test_a_share_is_held_out_and_nothing_lost(count: int, share: float, held: int) -> None:
    data = numbered(count)
    left, out = hold_out(data, share, seed=0)
    assert len(numbers(out)) == held
    assert sorted(numbers(left) + numbers(out)) == list(range(count))
    assert numbers(left) == sorted(numbers(left))
    for part in (left, out):
        assert part.images.labels.tolist() == [number % 3 for number in numbers(part)]
        assert (part.images.mean, part.images.names, part.batch_size) == (
            (0.5,),
            ("a", "b", "c"),
            4,
        )
    assert numbers(hold_out(data, share, seed=0)[1]) == numbers(out)
    assert numbers(data) == list(range(count))


def test_another_seed_holds_out_others() -> None:
    assert len({tuple(numbers(hold_out(numbered(20), 0.3, seed)[1])) for seed in range(4)}) > 1


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (3, 0.1), (3, 0.9), (0, 0.5)])
def test_too_few_to_hold_some_out_are_refused(count: int, share: float) -> None:
    with pytest.raises(DataError, match=rf"{count} training examples are too few to hold out"):
        hold_out(numbered(count), share, seed=0)


def test_chained_data_come_one_after_the_other_as_often_as_wanted() -> None:
    data = Chained(([1, 2], [], [3]))
    assert list(data) == list(data) == [1, 2, 3]
