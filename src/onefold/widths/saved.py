"""Resized networks read from their files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.arguments import checked
from onefold.errors import WeightsError, kind_of
from onefold.isolation import isolated
from onefold.weights import Checkpoint, fitted, load_into, read
from onefold.weights.resized import KEY, MARK
from onefold.widths.copies import tensors_of, with_tensors
from onefold.widths.mark import VERSION
from onefold.widths.numbers import config_numbers, is_size, set_size

M = TypeVar("M", bound=nn.Module)


@checked
@isolated
def load_resized(
    factory: Callable[[], M] | type[M], path: str | os.PathLike[str], *, check_finite: bool = True
) -> M:
    """The network of a file that `onefold.save` wrote of a resized one.

    Args:
        factory: called without arguments, makes the network with the widths that it had before it
            was resized. Its weights play no part.
        path: the file.
        check_finite: refuse NaN and infinity.

    Returns:
        The factory's network with the widths and the weights of the file, as `onefold.resize`
        returned it.

    Raises:
        WeightsError: the file cannot be read, or holds no resized network, or the factory makes
            another network than the one that was resized.
    """
    checkpoint = read(path, check_finite=check_finite)
    if KEY not in checkpoint.metadata:
        raise WeightsError(
            f"{path} holds no resized network; read it by onefold.load(file, network)."
        )
    network = factory()
    made: object = network
    if not isinstance(made, nn.Module):
        raise WeightsError(
            f"The factory for {path} gives {kind_of(made)}; it must return a network."
        )
    result = rebuilt(network, checkpoint, str(path))
    load_into(result, fitted(checkpoint, result).tensors, str(path))
    return result


def rebuilt(network: M, checkpoint: Checkpoint, where: str) -> M:
    """The network with the widths of a checkpoint, whose weights it does not take yet.

    Args:
        network: of the widths before it was resized.
        checkpoint: of a resized network.
        where: its file, for messages.

    Raises:
        WeightsError: its metadata are damaged, or the network is another one.
    """
    facts = _facts(checkpoint.metadata[KEY], where)
    return _rebuilt(network, facts, checkpoint.tensors, where)


def _facts(text: str, where: str) -> dict[str, Any]:
    """What the metadata say. Raises WeightsError if they are damaged."""
    try:
        facts: Any = json.loads(text)
        if facts["version"] != VERSION:
            raise WeightsError(
                f"{where} was written by another version of onefold (form {facts['version']!r});"
                " load it with that one."
            )
        for name, wanted in (("widths", int), ("before", int), ("shapes", list)):
            if not all(type(value) is wanted for value in facts[name].values()):
                raise ValueError(name)
        for shape in facts["shapes"].values():
            if not all(type(length) is int for length in shape):
                raise ValueError("shapes")
        for sizes in facts["sizes"].values():
            if not all(is_size(value) for value in sizes.values()):
                raise ValueError("sizes")
        for numbers in facts["config"].values():
            if not all(type(value) is int for value in numbers.values()):
                raise ValueError("config")
        return {**facts, "said": bool(facts["said"])}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RuntimeError) as error:
        raise WeightsError(
            f"{where} has damaged metadata: {KEY} does not say how the network was resized; write"
            " the file again."
        ) from error


def _rebuilt(network: M, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> M:
    """The factory's network with the file's shapes and sizes. Raises WeightsError if unlike."""
    own = tensors_of(network)
    other = f"{where} holds a resized {facts.get('class')}, which the factory's network is not:"
    new: dict[str, Tensor] = {}
    for name, shape in facts["shapes"].items():
        if name not in own or list(own[name].shape) != shape:
            has = f"has shape {tuple(own[name].shape)}" if name in own else "is not there"
            raise WeightsError(
                f"{other} its '{name}' {has}, but had shape {tuple(shape)} before; let the factory"
                " make the network as it was before it was resized."
            )
        if name in tensors:
            new[name] = own[name].new_empty(tensors[name].shape)
    modules = dict(network.named_modules(remove_duplicate=False))
    for name, sizes in facts["sizes"].items():
        for attribute, value in sizes.items():
            held = vars(modules[name]).get(attribute) if name in modules else None
            if not is_size(held) or isinstance(held, tuple | list) != isinstance(value, list):
                raise WeightsError(
                    f"{other} its module '{name}' has no size '{attribute}'; let the factory make"
                    " the network as it was before it was resized."
                )
    result = with_tensors(network, new)
    modules = dict(result.named_modules(remove_duplicate=False))
    for name, sizes in facts["sizes"].items():
        for attribute, value in sizes.items():
            set_size(modules[name], attribute, value)
    for name, numbers in facts["config"].items():
        held = config_numbers(getattr(modules.get(name), "config", object))
        for dotted, value in numbers.items():
            if dotted not in held:
                raise WeightsError(
                    f"{other} its config has no '{dotted}'; let the factory make the network as it"
                    " was before it was resized."
                )
            setattr(*held[dotted], value)
    setattr(result, MARK, facts)
    return result
