"""A checkpoint seen from its headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from onefold.checkpoints.layouts.dtypes import item_size
from onefold.checkpoints.layouts.layers import Stack, main_stack, stacks_of


@dataclass(frozen=True)
class Scaled:
    """What turns stored 8-bit floats into numbers.

    Attributes:
        dtype: the dtype that is stored, such as "float8_e4m3fn".
        scale: the tensor that they are multiplied by.
        shared: how many elements along each axis share one scale.
        written: the dtype of the result, unless a document says another.
    """

    dtype: str
    scale: Held
    shared: tuple[int, ...]
    written: str


@dataclass(frozen=True)
class Held:
    """One tensor of a checkpoint.

    Attributes:
        name: its name there.
        dtype: the dtype that it is read as, as torch names it, such as "bfloat16".
        shape: its shape.
        file: the file that holds it.
        begin: its first byte, counted from the file's start; None: a torch file, which is read by
            name.
        scaled: the scales that it is multiplied by when it is read; None: there are none.
        key: its name in the file; None: `name`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int | None
    scaled: Scaled | None = None
    key: str | None = None

    @property
    def stored(self) -> Held:
        """The tensor as it is stored, without its scales."""
        return self if self.scaled is None else replace(self, dtype=self.scaled.dtype, scaled=None)

    @property
    def written(self) -> str:
        """The dtype of the result, unless a document or other models say another."""
        return self.dtype if self.scaled is None else self.scaled.written

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of stored bytes."""
        return self.numel * item_size(self.stored.dtype)


@dataclass(frozen=True)
class Layout:
    """A folder or file of one checkpoint.

    Attributes:
        path: the folder or file.
        files: the files that hold tensors, in the order of their shards.
        tensors: the tensors by name, in the order in which they lie in the files.
        config: the content of config.json; empty if there is none.
        metadata: the free texts of safetensors files.
        notes: sentences on how it was read.
        components: the networks of a pipeline in folders of their own, by the names of these.
    """

    path: Path
    files: tuple[Path, ...]
    tensors: Mapping[str, Held]
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    components: Mapping[str, Layout] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(held.nbytes for held in self.tensors.values())

    @cached_property
    def stacks(self) -> Mapping[str, Stack]:
        """The stacks of layers by what stands before the layer number."""
        return stacks_of(self.tensors)

    @cached_property
    def main(self) -> Stack | None:
        """The stack that documents mean by "layers"; None: there is none."""
        weights = {name: held.nbytes for name, held in self.tensors.items()}
        return main_stack(self.stacks, weights, self.config)

    @property
    def layers(self) -> int:
        """The number of layers of the main stack."""
        return self.main.layers if self.main is not None else 0

    @property
    def tied(self) -> bool:
        """Whether its config says that the head is the embedding."""
        inner = self.config.get("text_config")
        own = self.config.get("tie_word_embeddings")
        if own is None and isinstance(inner, Mapping):
            own = inner.get("tie_word_embeddings")
        return bool(own)
