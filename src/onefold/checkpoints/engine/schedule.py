"""What a thread takes next, and how much memory tensors in work may take together.

A tensor of several parts is prepared by the thread that takes it, while others take further
tensors. Parts that are ready go before tensors that are not: a thread waits for memory only where
nothing is left that would give some back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Range = tuple[int, int]  # the first element, and the one behind the last


class Parted(Protocol):
    """A tensor in work that has one part or several."""

    @property
    def ranges(self) -> Sequence[Range]:
        """The parts."""

    def get_ready(self) -> None:
        """Find out what all parts need of the whole tensor."""


Tensor = TypeVar("Tensor", bound=Parted)


@dataclass
class Gate:
    """Lets tensors into memory up to a bound; one that is larger than the bound comes in alone.

    Attributes:
        bound: bytes.
    """

    bound: int
    used: int = 0
    free: threading.Condition = field(default_factory=threading.Condition)

    def enter(self, size: int) -> None:
        """Wait until there is room."""
        with self.free:
            self.free.wait_for(lambda: self.used == 0 or self.used + size <= self.bound)
            self.used += size

    def leave(self, size: int) -> None:
        """Give the room back."""
        with self.free:
            self.used -= size
            self.free.notify_all()


class Schedule(Generic[Tensor]):
    """Hands out the parts of tensors to threads.

    Args:
        tensors: in the order in which they are begun.
    """

    def __init__(self, tensors: Iterator[Tensor]) -> None:
        self._tensors = tensors
        self._ready: deque[tuple[Tensor, Range]] = deque()
        self._preparing = 0
        self._over = self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> tuple[Tensor, Range] | None:
        """The next part; None: there is none any more, or the work was stopped.

        Raises:
            WeightsError: an input of the tensor is not finite.
        """
        while True:
            with self._changed:
                while not self._ready:
                    found = None if self._stopped or self._over else next(self._tensors, None)
                    if found is not None:
                        break
                    self._over = True
                    if self._stopped or not self._preparing:
                        return None
                    self._changed.wait()  # for parts that another thread prepares
                else:
                    return None if self._stopped else self._ready.popleft()
                if len(found.ranges) == 1:
                    return found, found.ranges[0]
                self._preparing += 1
            found.get_ready()
            with self._changed:
                self._preparing -= 1
                self._ready.extend((found, part) for part in found.ranges)
                self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody take or wait for anything more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
