"""Values that a network caches between runs, and how they are cleared or left out.

Some networks compute a part of themselves from their weights once in eval mode (a table of biases,
for example), and cache it in a plain attribute until training mode is set. If their weights are
exchanged meanwhile, they would go on with the cached value.

Others return keys, values or states beside their outputs, which a next call for the next token
takes (transformers does by default). Those are no outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

# Entries of what a network returns, for the next call.
RETURNED = ("past_key_values", "past_key_value", "cache_params", "cache", "mems")


def is_returned_cache(name: object, value: object) -> bool:
    """Whether an entry of what a network returned is a cache for the next call.

    Args:
        name: its key or position.
        value: the entry. A tensor is none.
    """
    return not isinstance(value, Tensor) and (name in RETURNED or _is_cache(value))


def without_returned_caches(returned: Any) -> Any:
    """What a network returned, with None for every object that is a cache."""
    return pytree.tree_map(lambda leaf: None if _is_cache(leaf) else leaf, returned)


def _is_cache(value: object) -> bool:
    return type(value).__name__.endswith("Cache")


def return_no_caches(network: nn.Module) -> None:
    """Let a network compute no caches for a next call, where its `config.use_cache` says so."""
    for module in network.modules():
        config = getattr(module, "config", None)
        if getattr(config, "use_cache", None) is True:
            with suppress(Exception):  # a config may refuse anything
                config.use_cache = False  # type: ignore[union-attr]


def clear_eval_caches(model: nn.Module) -> None:
    """Set training mode and then eval mode, on which modules drop values cached from other weights.

    Every flag is restored. For copies of a user's network that get other weights: its modules then
    do what they do on such a change.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.train()
    model.eval()
    for module, training in flags:
        module.training = training


def fill(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into `model`.

    If several names share one tensor, the value of the first name counts, whatever the others hold.
    """
    tensors = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        if name in state:
            first.setdefault(id(tensor), name)
    source = {name: first[id(tensors[name])] if name in tensors else name for name in state}
    model.load_state_dict({name: state[source[name]] for name in state})


@contextmanager
def restored_attributes(model: nn.Module) -> Iterator[None]:
    """Undo on leaving what modules assign to their attributes, dicts, lists and sets in this block.

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
