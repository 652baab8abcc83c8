"""Small networks that hold what copy.deepcopy refuses, after a pass in training."""

from __future__ import annotations

import collections
import dataclasses
import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm, weight_norm


class Net(nn.Module):
    """6 numbers to 3 classes; `held` and `inner.held` may hold anything."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)
        self.held: Any = None
        self.keep: Callable[[Tensor], Any] | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.inner(x)))
        if self.keep is not None and self.training:
            self.held = self.keep(h)
        return self.head(h)


@dataclasses.dataclass
class Record:
    """Holds one value."""

    value: Any


class Slotted:
    """Holds one value in a slot."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Hook:
    """A hook that holds a lock and the last output."""

    def __init__(self) -> None:
        self.lock, self.last = threading.Lock(), torch.zeros(1)

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        with self.lock:
            self.last = output


Pair = collections.namedtuple("Pair", "a b")


def _with(change: Callable[[Net], object]) -> Callable[[], Net]:
    def make() -> Net:
        network = Net()
        change(network)
        return network

    return make


def _holds(make: Callable[[], Any]) -> Callable[[], Net]:
    return _with(lambda network: setattr(network, "held", make()))


def _keeps(keep: Callable[[Tensor], Any]) -> Callable[[], Net]:
    return _with(lambda network: setattr(network, "keep", keep))


def _closure_hook(network: Net) -> None:
    lock, seen = threading.Lock(), []

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        with lock:
            seen.append(output.shape)

    network.inner.register_forward_hook(hook)


def _logger() -> logging.Logger:
    logger = logging.Logger("of a network")  # of no manager, so that pickle refuses it
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    return logger


# All of these can be copied.
COPIED: dict[str, Callable[[], Net]] = {
    "weight_norm": _with(lambda n: weight_norm(n.inner)),
    "spectral_norm": _with(lambda n: spectral_norm(n.head)),
    "prune": _with(lambda n: prune.l1_unstructured(n.head, "weight", 0.5)),
    "structured prune": _with(lambda n: prune.ln_structured(n.inner, "weight", 0.25, 2, 0)),
    "parametrized norm": _with(lambda n: nn.utils.parametrizations.weight_norm(n.inner)),
    "activation": _keeps(lambda h: h),
    "activations in a list": _keeps(lambda h: [h, (h * 2, "name")]),
    "activations in a dict": _keeps(lambda h: {"a": {"b": h}}),
    "activations in a dataclass": _keeps(Record),
    "activations in a slot": _keeps(Slotted),
    "activations in a named tuple": _keeps(lambda h: Pair(h, h + 1)),
    "activations in a deque": _keeps(lambda h: collections.deque([h], maxlen=3)),
    "lock": _holds(threading.Lock),
    "recursive lock": _holds(threading.RLock),
    "condition": _holds(threading.Condition),
    "event in a dict": _holds(lambda: {"ready": threading.Event()}),
    "lock in a slot": _holds(lambda: Slotted(threading.Lock())),
    "thread": _holds(lambda: threading.Thread(target=print)),
    "local": _holds(threading.local),
    "open file": _holds(lambda: io.TextIOWrapper(io.BytesIO())),
    "open file in a list": _holds(lambda: [sys.stderr]),
    "logger": _holds(_logger),
    "handler": _holds(lambda: Record(logging.StreamHandler())),
    "module of Python": _holds(lambda: os),
    "closure hook": _with(_closure_hook),
    "hook object": _with(lambda n: n.inner.register_forward_hook(Hook())),
    "random generator": _holds(torch.Generator),
}
# None of these can: what the sentence says of them.
REFUSED: dict[str, tuple[Callable[[], Net], str]] = {
    "generator": (_holds(lambda: (k for k in range(3))), "as it holds a generator in 'held'"),
    "generator in a dict": (
        _holds(lambda: {"draws": iter(open, 1), "k": (k for k in ())}),
        "as it holds a",
    ),
    "generator below": (
        _with(lambda n: setattr(n.inner, "draws", [1, (k for k in range(3))])),
        "module 'inner' (Linear) holds a generator in 'draws[1]'",
    ),
    "memory view": (_holds(lambda: memoryview(b"a")), "as it holds a memoryview in 'held'"),
    "frame": (_holds(lambda: Record((k for k in ()).gi_frame)), "as it holds a Record in 'held'"),
}


def trained(make: Callable[[], Net], seed: int = 0) -> Net:
    """The network after a training pass with gradients."""
    torch.manual_seed(seed)
    network = make()
    network.train()(torch.randn(8, 6)).sum().backward()
    return network
