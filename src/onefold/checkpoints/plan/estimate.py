"""What a merge will take: bytes, memory, seconds; told before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onefold.checkpoints.layouts import item_size
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.sizes import shown_bytes

RANGE = 1 << 18  # elements of a buffer, as in `running`
READ, WRITE = 0.145e-9, 0.32e-9  # seconds a byte from and into the system's memory, measured


@dataclass(frozen=True)
class Estimate:
    """What a merge will take.

    Attributes:
        read: bytes that are read.
        written: bytes of the files of weights.
        memory: bytes of memory at most, beside torch itself and files mapped into memory.
        seconds: the least time, which reading and writing alone take where all is in memory.
    """

    read: int
    written: int
    memory: int
    seconds: float

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        return (
            f"It reads {shown_bytes(self.read)} and writes {shown_bytes(self.written)}, with at"
            f" most {shown_bytes(self.memory)} of memory beside torch's own, in {self.seconds:.1f}"
            " s or more (as fast as files in memory are copied)."
        )


@dataclass(frozen=True)
class Room:
    """What results take on a disk.

    Attributes:
        folder: in which they are written.
        needed: bytes that are still to be written.
        free: bytes that are free, or that a run which was stopped left and the next one removes.
    """

    folder: Path
    needed: int
    free: int

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        return (
            f"It needs up to {shown_bytes(self.needed)} of disk, and {self.folder} has"
            f" {shown_bytes(self.free)} free."
        )


def estimate(plan: Plan, threads: int, max_memory: int) -> Estimate:
    """What a plan takes.

    Args:
        plan: the plan.
        threads: how many work at a time.
        max_memory: the bound on what tensors in work take.
    """
    working = sorted((job.working_bytes for job in plan.jobs), reverse=True)
    largest = working[0] if working else 0
    beside = max(largest, min(max_memory, sum(working[: threads + 1])))
    item = max((item_size(job.dtype) for job in plan.jobs), default=0)
    memory = beside + threads * RANGE * item
    seconds = plan.bytes_read * READ + plan.bytes_written * WRITE
    return Estimate(plan.bytes_read, plan.bytes_written, memory, seconds)
