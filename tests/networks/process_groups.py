"""Tests of several processes: each joins a group, does its part, and leaves with the others."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch


def run_both(function: Callable[..., None], *arguments: Any) -> None:
    """Run `function(rank, *arguments)` in two processes.

    They are forks of this one where that is safe, as those have imported everything already.
    """
    method = "fork" if forks_are_safe() else "spawn"
    torch.multiprocessing.start_processes(function, arguments, nprocs=2, start_method=method)


def forks_are_safe() -> bool:
    return sys.platform == "linux" and not torch.cuda.is_available()


def fork_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make forks of the processes that a command would spawn, where that is safe."""
    start = torch.multiprocessing.start_processes
    if forks_are_safe():
        monkeypatch.setattr(
            torch.multiprocessing,
            "start_processes",
            lambda *given, **named: start(*given, **{**named, "start_method": "fork"}),
        )


def in_a_group(function: Callable[..., None]) -> Callable[..., None]:
    """Make `function(rank, *arguments)` the work of one of two processes.

    What `run_both` runs is then `function(rank, meeting, *arguments)`; `meeting` is a URL of
    torch.distributed, such as `file:///a/new/file`.

    A process leaves when the others are done, and when its wrapped networks are gone. One that
    destroys the group earlier may be aborted, as the threads of the group still run.
    """

    @functools.wraps(function)
    def run(rank: int, meeting: str, *arguments: Any) -> None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        function(rank, *arguments)  # what it holds goes with its frame
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()

    return run
