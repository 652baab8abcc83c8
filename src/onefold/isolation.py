"""The same bits in every caller's context, and from every thread.

Torch has state that belongs to the process or to the caller: gradients on or off, inference mode,
autocast, a default device. A public function that ran under whatever its caller had set would give
other weights in a notebook than in a script. torch.export changes `nn.Module` itself while it
traces, for all threads. So public functions that run networks do it in a context of their own, one
after another.

The default dtype stays the caller's, as a network may rely on it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from onefold.errors import SettingError
from onefold.lost_processes import workers_named

P = ParamSpec("P")
R = TypeVar("R")


class _Turn:
    """Whose turn it is: one thread's, with all calls inside of its call."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0


_turn = _Turn()


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a public function that runs networks.

    Calls of several threads run one after another. Inside, gradients are on, inference mode and
    autocast are off, and the default device is no "meta", whatever they are outside. Transforms of
    torch.func and FakeTensorMode are refused. Calls inside of such a call run as they stand. The
    loss of a worker of a data loader is named.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        turn = _turn
        with turn.lock:
            if turn.depth:
                return function(*args, **kwargs)
            _check_values()
            turn.depth += 1
            try:
                with _plain_context(), workers_named():
                    return function(*args, **kwargs)
            finally:
                turn.depth -= 1

    return call


@contextlib.contextmanager
def _plain_context() -> Iterator[None]:
    """Torch as it is in a fresh process, apart from the default dtype and device."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", _accelerator()):
            if device is not None and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type == "meta":
            stack.enter_context(torch.device("cpu"))
        yield


def _check_values() -> None:
    """Refuse a caller's context in which tensors are no numbers.

    Raises:
        SettingError: a transform of torch.func is under way, or a mode that only works out shapes.
    """
    around, modes = "", _get_current_dispatch_mode_stack()
    if torch._C._functorch.peek_interpreter_stack() is not None:
        around = "a transform of torch.func, such as grad or vmap"
    elif any(type(mode).__name__ == "FakeTensorMode" for mode in modes):
        around = "a FakeTensorMode"
    if around:
        raise SettingError(
            f"onefold is called inside of {around}, where tensors hold no numbers of their own;"
            " call it outside, and use its result inside."
        )


def _accelerator() -> str | None:
    """The type of this machine's accelerator, if there is one."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None else found.type


def _renew() -> None:
    """Forget the turn of the parent process, of which no thread lives on here."""
    global _turn
    _turn = _Turn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextlib.contextmanager
def seeded(seed: int, threads: int | None = None) -> Iterator[int]:
    """A context with its own random numbers and number of CPU threads; both are restored.

    Args:
        seed: of torch's generators, on all devices.
        threads: of torch; None: as many as there are.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    used = threads or before
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            torch.set_num_threads(used)
            yield used
    finally:
        torch.set_num_threads(before)
