"""The benchmarks of tasks by name: a network, its data, how members are trained, and groups.

To add one, write a module of this folder that registers it and name it in MODULES:

    @benchmark("series")
    def series() -> Benchmark: ...
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from torch import Tensor, nn

from benchmarks.tasks.examples import Parts, Sizes

MODULES = (
    "segmentation",
    "tables",
    "several_labels",
    "one_logit",
    "series",
    "sentences",
    "characters",
)
OTHERS = 0.1  # of the examples of a share, those that are of the other share


@dataclass(frozen=True)
class Training:
    """AdamW under a rate that rises over a tenth of the steps and falls to zero by a cosine.

    bfloat16: the network runs in bfloat16 while it is trained, its weights stay in float32.
    """

    epochs: int
    lr: float
    batch: int = 32
    weight_decay: float = 0.01
    bfloat16: bool = False


@dataclass(frozen=True)
class Group:
    """Members that belong together: (the entry of `Parts.seen`, the seed) of each.

    known: what is known of the right answer.
    """

    name: str
    members: tuple[tuple[str, int], ...]
    known: str


SAME = "They know the same: the ensemble is little above the best member."
DIFFERENT = "They know different things: the ensemble is far above the best member."
PAIRS = (
    Group("same", (("all", 0), ("all", 1)), SAME),
    Group("different", (("first", 2), ("second", 3)), DIFFERENT),
)


@dataclass(frozen=True)
class Benchmark:
    """One task.

    name: of the benchmark. task: its name in `onefold.tasks`. title: network and data in words.
    shares: what the "first" and the "second" share of the data are. build: the network with fresh
    weights. load: the data of given sizes. loss: of (outputs, labels) in training, a scalar.
    """

    name: str
    task: str
    title: str
    shares: str
    build: Callable[[], nn.Module]
    load: Callable[[Sizes], Parts]
    loss: Callable[[Tensor, Tensor], Tensor]
    sizes: Sizes
    training: Training
    groups: tuple[Group, ...] = PAIRS


_builders: dict[str, Callable[[], Benchmark]] = {}


def benchmark(name: str) -> Callable[[Callable[[], Benchmark]], Callable[[], Benchmark]]:
    """Register a function without arguments that returns the benchmark of that name."""

    def register(function: Callable[[], Benchmark]) -> Callable[[], Benchmark]:
        _builders[name] = function
        return function

    return register


def benchmarks() -> dict[str, Callable[[], Benchmark]]:
    """Every benchmark by its name, in the order of MODULES."""
    for module in MODULES:
        importlib.import_module(f"benchmarks.tasks.{module}")
    return {name: _builders[name] for name in MODULES}
