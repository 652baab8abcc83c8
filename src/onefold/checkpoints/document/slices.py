"""What a document merges, as slices of layers, once the models' layers are known.

A module that lists models is one slice over all of their layers, to which the base is added if it
is not listed. Slices that a document lists are taken as they are: the base is one of their sources
or none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onefold.checkpoints.document.content import Document, Input, Module, Reference, Slice
from onefold.printable import counted


def parts_of(module: Module) -> tuple[Slice, ...]:
    """The slices of a module; one without layers if it lists models."""
    return module.slices or (Slice(module.inputs, at=(*module.at, "models")),)


def with_base(document: Document, part: Slice) -> Slice:
    """A slice of listed models with the base as the last of them, unless it is among them."""
    base = document.base_of(part)
    if base is None or part.layered or any(one.model == base for one in part.inputs):
        return part
    return replace(part, inputs=(*part.inputs, Input(base, at=("base_model",))))


def slices_of(
    document: Document, module: Module, layers: Mapping[Reference, int]
) -> tuple[Slice, ...]:
    """The slices of a module, each input with its layers, checked against the models.

    Args:
        document: the document.
        module: one of its modules.
        layers: the number of layers of each model in this module; 0: it has none.

    Raises:
        RecipeError: a range ends behind the last layer of its model, or models without ranges have
            unequal numbers of layers.
    """
    return tuple(_fitted(document, with_base(document, one), layers) for one in parts_of(module))


def _fitted(document: Document, part: Slice, layers: Mapping[Reference, int]) -> Slice:
    inputs = []
    for one in part.inputs:
        count = layers[one.model]
        if one.layers is None:
            inputs.append(replace(one, layers=(0, count)))
            continue
        inputs.append(one)
        if one.layers[1] > count:
            raise document.error(
                (*one.at, "layer_range"),
                f"{list(one.layers)} ends behind the last layer of {one.model}, which has {count};"
                f" the second number is at most {count}",
            )
    first, others = inputs[0], inputs[1:]
    for one in others:
        if not part.layered and layers[one.model] != layers[first.model]:
            raise document.error(
                (*one.at, "model") if one.at != ("base_model",) else one.at,
                f"{one.model} has {counted(layers[one.model], 'layer')}, and {first.model} has"
                f" {layers[first.model]}; choose layers by 'slices' with 'layer_range'",
            )
    return replace(part, inputs=tuple(inputs))
