"""How merges are carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """How merges are carried out.

    Attributes:
        threads: how many work at a time.
        memory: bytes that tensors in work take at most.
        shard: bytes of a file of weights at most.
        force: replace an output.
        seed: of random masks; None: 0, which is not told.
        sharded: the size of files was asked for.
        durable: force files onto the disk.
        told: is called with the name of each finished file of weights.
    """

    threads: int
    memory: int
    shard: int
    force: bool = False
    seed: int | None = field(default=None, kw_only=True)
    sharded: bool = field(default=False, kw_only=True)
    durable: bool = True
    told: Callable[[str], None] = field(default=lambda file: None)
