"""Views: the inputs of a batch, changed at random at every pass; what they show stays.

Teachers and student see the same view, so that the ensemble's answer to it is the right one however
much it differs from the image ("consistent teaching"). More views stand in for more images.

Beyer, Zhai, Royer, Markeeva, Anil & Kolesnikov 2022, "Knowledge distillation: A good teacher is
patient and consistent" (arXiv 2106.05237).

A view is a function of a batch's input. It draws from torch's, NumPy's and Python's generators,
which are seeded for every batch and restored afterwards. A function of a user's own is
reproducible by that, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onefold.augmentation import flipped, mixed, shifted
from onefold.batches import Batch
from onefold.errors import DataError, SettingError, kind_of, nearest
from onefold.generators import generators_kept
from onefold.registry import Registry

View = Callable[[Any], Any]
NONE, AND = "none", "+"
SALT = 0x5EED  # views are drawn apart from the order of the batches

views: Registry[View] = Registry("view")


@views.register(NONE)
def unchanged(inputs: Any) -> Any:
    """The inputs as they are; the ensemble is asked about a list of batches only once."""
    return inputs


@views.register("crops")
def crops(images: Tensor) -> Tensor:
    """Each image moved by up to an eighth of its height, zeros coming in at the border."""
    return shifted(images)


@views.register("flips")
def flips(images: Tensor) -> Tensor:
    """Each image mirrored from left to right or not; not for digits and writing."""
    return flipped(images)


@views.register("crops_flips")
def crops_flips(images: Tensor) -> Tensor:
    """Each image mirrored or not, and moved: the views of most training on photographs."""
    return shifted(flipped(images))


@views.register("mixed")
def mixtures(images: Tensor) -> Tensor:
    """Each image mixed with another of its batch by shares between 0 and 1 (mixup)."""
    return mixed(images)


BUILT_IN = (crops, flips, crops_flips, mixtures)  # for images (N, C, H, W) alone


def name_of_views(given: str | View) -> str:
    """The name of views in reports: as given, or that of a function or class."""
    if isinstance(given, str):
        return given
    return str(getattr(given, "__qualname__", type(given).__qualname__))


def check_views(given: str | View) -> None:
    """Refuse a name that no registered view has.

    Args:
        given: a function, a name, or several names joined by "+".

    Raises:
        SettingError: as said, with the nearest name.
    """
    for name in given.split(AND) if isinstance(given, str) else []:
        if name.strip() not in views:
            raise SettingError(
                f"There is no view named {name.strip()[:60]!r}; {nearest(name, views.names())}"
            )


class Viewer:
    """Makes views of one batch after the other.

    Args:
        given: a function, a name, or several names joined by "+", which follow on one another.
        seed: of all draws; the same batches in the same order get the same views.
    """

    def __init__(self, given: str | View, seed: int) -> None:
        check_views(given)
        names = [name.strip() for name in given.split(AND)] if isinstance(given, str) else []
        self._functions = (
            [views.get(name) for name in names if name != NONE]
            if isinstance(given, str)
            else [given]
        )
        self._name = name_of_views(given)
        self._generator = torch.Generator().manual_seed(seed ^ SALT)

    @property
    def changes(self) -> bool:
        """Whether batches are changed at all."""
        return bool(self._functions)

    def __call__(self, batch: Batch) -> Batch:
        """A view of the batch, which stays as it is.

        Raises:
            DataError: a view does not fit the batch, fails on it, or returns inputs of other shapes
                or types.
        """
        if not self._functions:
            return batch
        inputs: Any = batch.kwargs or (batch.args if len(batch.args) > 1 else batch.args[0])
        seed = int(torch.randint(2**62, (), generator=self._generator))
        with torch.no_grad(), _seeded(seed, batch.tensors[0].device):
            for function in self._functions:
                inputs = self._viewed(function, inputs, batch)
        if isinstance(inputs, Mapping):
            return replace(batch, kwargs=dict(inputs))
        several = isinstance(inputs, tuple | list)
        return replace(batch, args=tuple(inputs) if several else (inputs,))

    def _viewed(self, function: View, inputs: Any, batch: Batch) -> Any:
        if function in BUILT_IN:
            return self._of_images(function, inputs, batch)
        name = name_of_views(function)
        try:
            result = function(_copied(inputs))
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
            reason = str(error).strip().split("\n")[0][:200].rstrip(".")
            raise DataError(
                f"The view {name} failed on {batch.describe()}: {type(error).__name__} {reason};"
                " it is called with the input of a batch: a tensor, a tuple or a dict."
            ) from error
        if _form(result) != _form(inputs):
            raise DataError(
                f"The view {name} made {_told(result)} of {_told(inputs)} in batch {batch.index};"
                " a view returns inputs of the shapes and types that it was given."
            )
        return result

    def _of_images(self, function: View, inputs: Any, batch: Batch) -> Any:
        """A view of one tensor of images, which may be the only entry of a dict."""
        if isinstance(inputs, Mapping) and len(inputs) == 1:
            ((key, images),) = inputs.items()
            return {key: self._of_images(function, images, batch)}
        fits = isinstance(inputs, Tensor) and inputs.dim() == 4 and inputs.is_floating_point()
        if not fits:
            raise DataError(
                f"The views '{self._name}' are of images, one floating-point tensor (N, C, H, W),"
                f" not of {batch.describe()}; give views='none' or a function of a batch's input."
            )
        return function(inputs)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """All generators seeded, and afterwards as they were."""
    here = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=here), generators_kept():
        torch.default_generator.manual_seed(seed)
        if here:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield


def _copied(inputs: Any) -> Any:
    """Inputs that a view may write to."""
    if isinstance(inputs, Mapping):
        return {key: _copied(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(map(_copied, inputs))
    return inputs.clone() if isinstance(inputs, Tensor) else inputs


def _form(inputs: Any) -> Any:
    """What must not change: shapes, dtypes, devices and keys."""
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape), inputs.dtype, inputs.device
    if isinstance(inputs, Mapping):
        return {key: _form(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_form(value) for value in inputs]
    return type(inputs)


def _told(inputs: Any) -> str:
    if isinstance(inputs, Tensor):
        return f"{tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
    if isinstance(inputs, Mapping):
        return "{" + ", ".join(f"{key}: {_told(value)}" for key, value in inputs.items()) + "}"
    if isinstance(inputs, tuple | list):
        return "(" + ", ".join(map(_told, inputs)) + ")"
    return kind_of(inputs)
