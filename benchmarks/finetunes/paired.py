"""Paired bootstrap: test sentences are drawn again, the same for both sides.

Tasks are drawn apart from each other. A statistic is the mean over the tasks of accuracies over
those of the fine-tunes, which are drawn along. Intervals hold the middle 95 % of 2,000 draws.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.finetunes.scoring import unpacked

DRAWS, LEVEL = 2000, 95
Answers = Mapping[str, Mapping[str, Any]]  # of each task, as `packed` keeps them


@lru_cache(maxsize=8)
def counts(task: str, n: int) -> Any:
    """(DRAWS, n), how often each sentence of a task is drawn."""
    generator = np.random.default_rng(zlib.crc32(task.encode()))
    return generator.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float32)


def draws(answers: Answers, whole: Answers | None = None) -> Any:
    """(DRAWS,) mean of normalised accuracies; without `whole` of accuracies."""
    found = []
    for task, kept in answers.items():
        share = counts(task, kept["n"]) @ unpacked(kept).astype(np.float32)
        if whole is not None:
            share = share / (counts(task, kept["n"]) @ unpacked(whole[task]).astype(np.float32))
        else:
            share = share / kept["n"]
        found.append(share)
    return np.mean(found, 0)


def mean(answers: Answers, whole: Answers | None = None) -> float:
    """The statistic itself."""
    return float(
        np.mean(
            [
                kept["right"] / (kept["n"] if whole is None else whole[task]["right"])
                for task, kept in answers.items()
            ]
        )
    )


def difference(
    first: Answers, second: Answers, whole: Answers | None = None
) -> tuple[float, float, float]:
    """first minus second, and the ends of its interval, in points (per cent)."""
    drawn = 100 * (draws(first, whole) - draws(second, whole))
    low, high = np.percentile(drawn, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return 100 * (mean(first, whole) - mean(second, whole)), float(low), float(high)
