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
from onefold.widths.numbers import changed_sizes, config_numbers, copy_sizes

MOST = 200  # networks made at most


def configured(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, module) of the outermost networks of transformers within a network."""
    found: list[str] = []
    for name, module in network.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if not inside and is_transformer(module):
            found.append(name)
            yield name, module


def fit_configs(
    network: nn.Module,
    before: nn.Module,
    axes: Mapping[str, Axes],
    widths: Mapping[str, int],
    *,
    proved: bool,
) -> bool:
    """Let the configs in a network say its widths, and its modules keep the sizes that they say.

    Args:
        network: the network with its new tensors; its configs and the sizes in its modules are
            changed if the configs can say all of them, and only then.
        before: the network that it was made from.
        axes: name of a tensor -> terms of its axes before.
        widths: group name -> new number of units.
        proved: whether the sizes of its modules are right, so that a config must agree with them.

    Returns:
        Whether there is a config, and all can.
    """
    found = []
    originals = dict(before.named_modules())
    for name, module in configured(network):
        prefix = f"{name}." if name else ""
        own = {n[len(prefix) :]: terms for n, terms in axes.items() if n.startswith(prefix)}
        fitted = _fitted(module, originals[name], own, widths, proved)
        if fitted is None:
            return False
        found.append((module, *fitted))
    for module, config, made, custom in found:
        theirs = config_numbers(config)
        for dotted, (holder, attribute) in config_numbers(module.config).items():
            value = getattr(*theirs[dotted])
            if getattr(holder, attribute) != value:
                setattr(holder, attribute, value)
        copy_sizes(made, module, custom)
    return bool(found)


def _fitted(
    module: Any,
    before: nn.Module,
    axes: Mapping[str, Axes],
    widths: Mapping[str, int],
    proved: bool,
) -> tuple[Any, nn.Module, set[tuple[str, str]]] | None:
    """A config for the module, what its class makes of it, and the numbers that are the user's."""
    config = copy.deepcopy(module.config)
    first = _made(module, config)
    if first is None:
        return None
    sizes: dict[int, set[int]] = {}
    for terms in axes.values():
        for part in parts_of(terms, widths).values():
            if part.before != part.after:
                sizes.setdefault(part.before, set()).add(part.after)
    custom = {(name, attribute) for name, attribute, _ in changed_sizes(before, first)}

    def wrong(made: nn.Module) -> int:
        shapes = _unlike(made, module)
        if shapes or not proved:
            return 1000 * shapes
        return sum(
            (name, attribute) not in custom for name, attribute, _ in changed_sizes(module, made)
        )

    made, left, tries, moved = first, wrong(first), 0, True
    while left and moved:
        moved = False
        for holder, name in list(config_numbers(config).values()):
            kept = getattr(holder, name)
            for value in sorted(sizes.get(kept, ())):
                if tries >= MOST:
                    return None
                tries += 1
                with contextlib.suppress(Exception):  # a config may refuse anything
                    setattr(holder, name, value)
                found = _made(module, config)
                if found is not None and (now := wrong(found)) < left:
                    made, left, moved = found, now, True
                    break
                setattr(holder, name, kept)
    return None if left else (config, made, custom)


def changed_config(before: nn.Module, after: nn.Module) -> dict[str, dict[str, int]]:
    """Module -> dotted name -> new value of every number of its config that differs."""
    modules = dict(after.named_modules())
    found: dict[str, dict[str, int]] = {}
    for name, module in configured(before):
        theirs = config_numbers(modules[name].config)
        changed = {
            dotted: getattr(*theirs[dotted])
            for dotted, place in config_numbers(module.config).items()
            if dotted in theirs and getattr(*theirs[dotted]) != getattr(*place)
        }
        if changed:
            found[name] = changed
    return found


def _made(module: nn.Module, config: Any) -> nn.Module | None:
    """A network of the module's class on the meta device; None if there is none of such sizes."""
    kind: Any = type(module)
    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
            made: nn.Module = kind(copy.deepcopy(config))
            return made
    except Exception:  # sizes that do not divide one another, or a class not made of a config alone
        return None


def _unlike(made: nn.Module, module: nn.Module) -> int:
    """How many tensors have another shape."""
    own = {name: tensor.shape for name, tensor in made.state_dict().items()}
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    return sum(own.get(name) != wanted.get(name) for name in {**own, **wanted})
