"""What a network remembers of its runs, and how it forgets.

Some networks compute a part of themselves from their weights once in eval mode (a table of biases,
say), and keep it in a plain attribute until training mode is set. When their weights are exchanged
meanwhile, they would go on with what they kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def clear_eval_caches(model: nn.Module) -> None:
    """Set training mode and eval mode in turn, on which modules drop what they kept of other
    weights; then every flag is as it was.

    For copies of somebody's network that get other weights: what its modules do on such a change is
    done to them.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.train()
    model.eval()
    for module, training in flags:
        module.training = training


def copied(model: M) -> M:
    """A deep copy.

    What a forward pass left as an attribute (as pruning does) belongs to a graph, and is copied
    without it.
    """
    left = (
        value
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    )
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in left})


def fill(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into `model`.

    Of names that share one tensor the first one's value counts, whatever the others hold.
    """
    own = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    first: dict[int, str] = {}
    for name, tensor in own.items():
        if name in state:
            first.setdefault(id(tensor), name)
    model.load_state_dict(
        {name: state[first[id(own[name])] if name in own else name] for name in state}
    )


@contextmanager
def restored_attributes(model: nn.Module) -> Iterator[None]:
    """What modules assign to their attributes in this block, or put into their dicts, lists and
    sets, is gone behind it.

    Tensors that are changed in place stay changed.
    """
    before = [(module, dict(vars(module)), _contents(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes, contents in before:
            vars(module).clear()
            vars(module).update(attributes)
            for holder, content in contents:
                holder.clear()
                holder.extend(content) if isinstance(holder, list) else holder.update(content)


def _contents(module: nn.Module) -> list[tuple[Any, Any]]:
    """The plain containers among a module's attributes, each with a copy of what it holds."""
    return [
        (value, value.copy()) for value in vars(module).values() if type(value) in (dict, list, set)
    ]
