"""Counting examples changes nothing and counts the longest walk."""

from __future__ import annotations

import torch
from small_networks import loader

from onefold.batches import RankShare
from onefold.counting import Counted, count_examples, counted


def test_counting_changes_nothing_and_counts_the_longest_walk() -> None:
    data = loader(100, batch=30)
    own = Counted(data)
    next(iter(own))
    assert own.examples == 30
    assert [len(x) for x, _ in own] == [30, 30, 30, 10]
    next(iter(own))
    assert own.examples == 100
    share, counter = counted(RankShare(data, 1, 2))
    assert [len(x) for x, _ in share] == [30, 10]
    assert share.number(1) == 3
    assert counter.examples == 100  # of all processes
    broken, counter = counted(["no batch", torch.ones(3, 2)])
    assert [item for item in broken if isinstance(item, str)] == ["no batch"]
    assert counter.examples == 3
    assert (
        count_examples([{"ids": torch.ones(4, 2), "labels": torch.ones(4)}, (torch.ones(2), None)])
        == 6
    )
