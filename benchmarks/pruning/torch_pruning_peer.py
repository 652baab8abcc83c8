"""Torch-Pruning (Fang et al. 2023, "DepGraph", arXiv 2301.12900), the package `torch-pruning`.

It is used as its own reproduction of figures on CIFAR does: many small steps towards nothing
(`pruning_ratio=1.0`), until the budget is reached; the layer of the outputs is left alone. The
criteria are the L1 norm of a layer's own rows, the L2 norm over a group of layers, and the Taylor
expansion over a group, whose gradients are taken anew on labelled examples every few steps. "local"
takes as many of every layer, "global" ranks all layers together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.pruning.methods import NotRunError, Task, classes_of, method

STEPS = 400  # as in its reproduction script
FRESH = 20  # steps between gradients
GRADIENTS = 500  # labelled examples of a gradient
PACKAGE = "torch-pruning"


def package() -> Any:
    """The package, or NotRunError."""
    try:
        import torch_pruning
    except ModuleNotFoundError:
        raise NotRunError(f"the package {PACKAGE} is not installed") from None
    return torch_pruning


def gradients(network: nn.Module, task: Task) -> None:
    """Gradients of the loss on the first labelled examples."""
    network.zero_grad()
    seen = 0
    with torch.enable_grad():
        for inputs, labels in zip(task.calibration, task.labels, strict=True):
            if seen >= GRADIENTS:
                break
            F.cross_entropy(network(inputs), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
            seen += len(labels)


def ignored(network: nn.Module, classes: int) -> list[nn.Module]:
    """The layers of the outputs."""
    return [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]


def pruner_of(network: nn.Module, task: Task, criterion: str, everywhere: bool) -> Any:
    """The package's pruner of a criterion."""
    tp = package()
    importance, kind = {
        "magnitude": (tp.importance.MagnitudeImportance(p=1), tp.pruner.MagnitudePruner),
        "group norm": (tp.importance.GroupMagnitudeImportance(p=2), tp.pruner.GroupNormPruner),
        "Taylor": (tp.importance.GroupTaylorImportance(), tp.pruner.BasePruner),
    }[criterion]
    heads = {
        getattr(block, name): block.heads
        for block in network.modules()
        if hasattr(block, "heads")
        for name in ("query", "key", "value")
    }
    position = getattr(network, "position", None)
    return kind(
        network,
        task.example,
        importance=importance,
        global_pruning=everywhere,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=ignored(network, classes_of(task)),
        num_heads=heads,
        unwrapped_parameters=None if position is None else {position: 2},
        in_channel_groups={},
        out_channel_groups={},
    )


def pruned(task: Task, criterion: str, everywhere: bool) -> nn.Module:
    """The network, narrowed step by step until it is within the budget."""
    network = task.copy()
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        pruner = pruner_of(network, task, criterion, everywhere)
        most = task.most
        for step in range(STEPS):
            if criterion == "Taylor" and step % FRESH == 0:
                gradients(network, task)
            try:
                pruner.step()
            except IndexError as error:  # version 1.6.1 takes the wrong axis of an LSTM
                raise NotRunError(f"its code stops: {error}") from None
            if task.fits(network, most):
                network.zero_grad(set_to_none=True)
                return network.eval()
    raise NotRunError("its steps ended before the budget was reached")


def _register(criterion: str, everywhere: bool) -> Callable[[Task], nn.Module]:
    where = "global" if everywhere else "local"
    name = f"torch-pruning {criterion} {where}"
    title = f"Torch-Pruning, {criterion}, {where}"

    @method(name, title, labels=criterion == "Taylor")
    def run(task: Task) -> nn.Module:
        return pruned(task, criterion, everywhere)

    return run


for _criterion in ("magnitude", "group norm", "Taylor"):
    for _everywhere in (False, True):
        _register(_criterion, _everywhere)
