"""The config of a network of transformers, where it can say the network's widths.

A config is right if its class, called with it, makes a network with the same shapes. Whole numbers
of the config that count something that has changed are tried on the meta device, one at a time.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from onefold.symmetry.axes import Axes
from onefold.weights.pretrained import is_transformer, quiet
from onefold.widths.attributes import parts_of

MOST = 200  # networks made at most


def configured(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, module) of the outermost networks of transformers within a network."""
    found: list[str] = []
    for name, module in network.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if not inside and is_transformer(module):
            found.append(name)
            yield name, module


def fit_config(
    module: Any, axes: Mapping[str, Axes], widths: Mapping[str, int]
) -> nn.Module | None:
    """Change a network's config in place so that it says its shapes.

    Args:
        module: a network of transformers whose tensors have their new shapes.
        axes: name of a tensor in it -> terms of its axes before.
        widths: group name -> new number of units.

    Returns:
        A network on the meta device that its class makes of the config; None if the config cannot
        say the shapes, and then it stays.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    config = copy.deepcopy(module.config)
    sizes: dict[int, set[int]] = {}
    for terms in axes.values():
        for old, new in parts_of(terms, widths).values():
            if old != new:
                sizes.setdefault(old, set()).add(new)
    made = _made(module, config)
    if made is None:
        return None
    wrong, tries, moved = _unlike(made, wanted), 0, True
    while wrong and moved:
        moved = False
        for holder, name in _numbers(config):
            before = getattr(holder, name)
            for value in sorted(sizes.get(before, ())):
                if tries >= MOST:
                    return None
                tries += 1
                with contextlib.suppress(Exception):  # a config may refuse anything
                    setattr(holder, name, value)
                found = _made(module, config)
                now = wrong if found is None else _unlike(found, wanted)
                if found is not None and now < wrong:
                    made, wrong, moved = found, now, True
                    break
                setattr(holder, name, before)
    if wrong:
        return None
    for (theirs, name), (ours, _) in zip(_numbers(config), _numbers(module.config), strict=True):
        if getattr(ours, name) != getattr(theirs, name):
            setattr(ours, name, getattr(theirs, name))
    return made


def _made(module: nn.Module, config: Any) -> nn.Module | None:
    """A network of the module's class on the meta device; None if there is none of such sizes."""
    kind: Any = type(module)
    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
            made: nn.Module = kind(copy.deepcopy(config))
            return made
    except Exception:  # sizes that do not divide one another, or a class not made of a config alone
        return None


def _unlike(made: nn.Module, wanted: Mapping[str, torch.Size]) -> int:
    """How many tensors have another shape."""
    own = {name: tensor.shape for name, tensor in made.state_dict().items()}
    return sum(own.get(name) != wanted.get(name) for name in {**own, **wanted})


def _numbers(config: Any) -> list[tuple[Any, str]]:
    """(config or a config in it, name) of every whole number from 2 on."""
    found = []
    for name, value in vars(config).items():
        if type(value) is int and value > 1:
            found.append((config, name))
        elif type(value).__name__.endswith("Config"):
            found += _numbers(value)
    return found
