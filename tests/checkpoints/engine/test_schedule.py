"""Parts are handed out so that nobody waits for a tensor that another thread prepares."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from onefold.checkpoints.engine.schedule import Gate, Schedule


class Tensor:
    """A tensor of some parts, which is prepared when it is let go."""

    def __init__(self, name: str, parts: int, begun: threading.Event, go: threading.Event) -> None:
        self.name, self.begun, self.go = name, begun, go
        self.ranges = [(i, i + 1) for i in range(parts)]

    def get_ready(self) -> None:
        self.begun.set()
        assert self.go.wait(20)


def tensors(*parts: int) -> tuple[list[Any], threading.Event, threading.Event]:
    begun, go = threading.Event(), threading.Event()
    return [Tensor(str(i), count, begun, go) for i, count in enumerate(parts)], begun, go


def in_thread(schedule: Schedule, found: list[str]) -> threading.Thread:
    def work() -> None:
        while (part := schedule.take()) is not None:
            found.append(f"{part[0].name}:{part[1][0]}")

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_further_tensors_are_taken_while_a_large_one_is_prepared() -> None:
    works, begun, go = tensors(3, 1, 1)
    schedule, found = Schedule(iter(works)), []
    first = in_thread(schedule, found)
    assert begun.wait(20)
    taken = [schedule.take(), schedule.take()]
    assert [part[0].name for part in taken if part is not None] == ["1", "2"]
    go.set()
    rest = []
    while (part := schedule.take()) is not None:  # waits for the parts, and shares them
        rest.append(f"{part[0].name}:{part[1][0]}")
    first.join(20)
    assert sorted(found + rest) == ["0:0", "0:1", "0:2"]


def test_parts_that_are_ready_go_before_tensors_that_are_not() -> None:
    works, _, go = tensors(2, 1)
    go.set()
    schedule = Schedule(iter(works))
    taken = [schedule.take() for _ in range(4)]
    assert [None if one is None else one[0].name for one in taken] == ["0", "0", "1", None]


def test_who_waits_for_parts_is_woken_by_a_stop() -> None:
    works, begun, go = tensors(2)
    schedule, found = Schedule(iter(works)), []
    first = in_thread(schedule, found)
    assert begun.wait(20)
    second = in_thread(schedule, found)
    schedule.stop()
    second.join(20)
    assert not second.is_alive()
    go.set()
    first.join(20)
    assert not first.is_alive()
    assert found == []
    assert schedule.take() is None


def test_what_fails_to_begin_fails_for_who_took_it() -> None:
    (work,), _, _ = tensors(2)
    work.get_ready = lambda: (_ for _ in ()).throw(ValueError("not finite"))
    with pytest.raises(ValueError, match="not finite"):
        Schedule(iter([work])).take()


def test_a_gate_lets_one_in_that_is_larger_than_the_bound() -> None:
    gate = Gate(10)
    gate.enter(50)
    entered = threading.Event()
    thread = threading.Thread(target=lambda: (gate.enter(5), entered.set()))
    thread.start()
    assert not entered.wait(0.05)
    gate.leave(50)
    assert entered.wait(20)
    thread.join()
    assert gate.used == 5
