"""Which integer in the names of tensors is the layer number, and how many layers there are.

The first part of a name that is an integer may be the layer number; what stands before it is the
prefix. A prefix is a stack of layers if its integers are 0, 1, ... without a gap, and the layers
share at least one ending, such as "attn.weight". `model.layers.3.mlp.experts.7.w1` is in layer 3 of
the stack "model.layers".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COUNTS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "encoder_layers",
    "depth",
)  # keys of configs that hold a number of layers


@dataclass(frozen=True)
class Stack:
    """Layers of one kind.

    Attributes:
        prefix: what stands before the layer number, without the dot.
        layers: their number.
    """

    prefix: str
    layers: int

    def name(self, layer: int, ending: str) -> str:
        """The name of a tensor of one layer."""
        return ".".join(part for part in (self.prefix, str(layer), ending) if part)


def parted(name: str) -> tuple[str, int, str] | None:
    """The prefix, the first integer and the ending of a name; None: it has no integer."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
            return ".".join(parts[:i]), int(part), ".".join(parts[i + 1 :])
    return None


def stacks_of(names: Iterable[str]) -> dict[str, Stack]:
    """The stacks of layers among the names of tensors, by prefix."""
    endings: dict[str, dict[int, set[str]]] = {}
    for name in names:
        if found := parted(name):
            endings.setdefault(found[0], {}).setdefault(found[1], set()).add(found[2])
    stacks = {}
    for prefix, layers in endings.items():
        if len(layers) == max(layers) + 1 and set.intersection(*layers.values()):
            stacks[prefix] = Stack(prefix, len(layers))
    return stacks


def layer_of(name: str, stacks: Mapping[str, Stack]) -> tuple[Stack, int, str] | None:
    """The stack, the layer number and the ending of a name; None: it belongs to no layer."""
    found = parted(name)
    if found is None or found[0] not in stacks:
        return None
    return stacks[found[0]], found[1], found[2]


def main_stack(
    stacks: Mapping[str, Stack], weights: Mapping[str, int], config: Mapping[str, Any]
) -> Stack | None:
    """The stack that layer ranges count; None: there are no layers.

    It is the largest one; among those with as many layers as the config says, if there are any.

    Args:
        stacks: all stacks.
        weights: the bytes of each tensor.
        config: the content of config.json, or nothing.
    """
    inner = config.get("text_config")
    told = [config, inner] if isinstance(inner, Mapping) else [config]
    counts = {one[key] for one in told for key in COUNTS if isinstance(one.get(key), int)}
    fitting = [stack for stack in stacks.values() if stack.layers in counts]
    sizes = dict.fromkeys(stacks, 0)
    for name, size in weights.items():
        found = parted(name)
        if found is not None and found[0] in sizes:
            sizes[found[0]] += size
    candidates = fitting or list(stacks.values())
    return max(candidates, key=lambda stack: sizes[stack.prefix], default=None)
