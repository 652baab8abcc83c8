"""The methods that narrow a network, by name: `METHODS`.

A method takes a `Task` and returns a narrowed network of at most `budget` times the multiply-adds.
It changes nothing of what it is given. One that cannot run raises `NotRunError` with the reason.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

import onefold
from benchmarks.pruning.cost import multiply_adds

MODULES = ("torch_pruning_peer", "largest_units", "model_folding", "intra_fusion")


class NotRunError(RuntimeError):
    """Why a method has no figure."""


@dataclass(frozen=True)
class Task:
    """What a method is given.

    network: in evaluation mode. calibration: batches of inputs without labels. labels: of these
    batches; a method that reads them says so. example: a batch of one. budget: share of the
    multiply-adds. peers: the folder of the checkouts of public code; None if there is none.
    """

    network: nn.Module
    calibration: Sequence[Tensor]
    labels: Sequence[Tensor]
    example: Tensor
    budget: float
    peers: Path | None = None

    def copy(self) -> nn.Module:
        """A network that may be changed."""
        return copy.deepcopy(self.network)

    @property
    def most(self) -> float:
        """Multiply-adds that are allowed."""
        return self.budget * multiply_adds(self.network, self.example)

    def fits(self, network: nn.Module, most: float | None = None) -> bool:
        """Whether a network is within the budget; most: `most`, if that is known."""
        return multiply_adds(network, self.example) <= (self.most if most is None else most)


@dataclass(frozen=True)
class Method:
    """title: in words. labels: whether it reads labels. own: whether it is of this library.
    merged: whether it leaves no batch norm whose statistics could be measured anew.
    """

    title: str
    run: Callable[[Task], nn.Module]
    labels: bool = False
    own: bool = False
    merged: bool = False


Run = TypeVar("Run", bound=Callable[[Task], nn.Module])
METHODS: dict[str, Method] = {}


def method(name: str, title: str, **told: bool) -> Callable[[Run], Run]:
    """Register a function of a task."""

    def register(function: Run) -> Run:
        METHODS[name] = Method(title, function, **told)
        return function

    return register


def methods() -> dict[str, Method]:
    """All methods, of every module of `MODULES`."""
    for module in MODULES:
        importlib.import_module(f"benchmarks.pruning.{module}")
    return METHODS


def prune_ours(network: nn.Module, calibration: Sequence[Tensor], budget: float) -> nn.Module:
    """The library's own pruning: least squares on unlabelled data, no training."""
    if not hasattr(onefold, "prune"):
        raise NotRunError("this version of onefold has no prune")
    found: nn.Module = onefold.prune(network, list(calibration), budget=f"{budget:g}x").model
    return found


@method("onefold", "onefold.prune", own=True)
def _ours(task: Task) -> nn.Module:
    return prune_ours(task.network, task.calibration, task.budget)


def largest_ratio(make: Callable[[float], nn.Module], task: Task) -> float:
    """The largest share of units to keep, in steps of 0.005, whose network is within the budget.

    make: the network of a share; its weights need not be right.
    """
    low, high = 0, 200
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if task.fits(make(middle / 200)) else (low, middle)
    if low == 0:
        raise NotRunError("no share of units is within the budget")
    return low / 200


def classes_of(task: Task) -> int:
    """The number of outputs."""
    with torch.no_grad():
        return int(task.network(task.example).shape[1])
