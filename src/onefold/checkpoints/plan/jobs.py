"""One tensor of the result, and the tensors that it is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from onefold.checkpoints.layouts import Held, is_float, item_size
from onefold.checkpoints.layouts.dtypes import keeps_values
from onefold.checkpoints.methods import Filter, Method
from onefold.checkpoints.methods.parameters import Value
from onefold.checkpoints.plan.token_rows import TokenRows


@dataclass(frozen=True)
class Source:
    """A tensor of one model, with the model's parameters.

    Attributes:
        model: the model, as the document names it.
        held: the tensor.
        parameters: the values of the method's parameters.
        seed: the name of the model by which random masks are seeded (see `seeds.py`).
    """

    model: str
    held: Held
    parameters: Mapping[str, Value] = field(default_factory=dict)
    seed: str = ""


@dataclass(frozen=True)
class Job:
    """How one tensor is made.

    Attributes:
        name: its name in the result.
        shape: its shape.
        dtype: its dtype in the result, as torch names it.
        method: the method with its settings; None: the tensor is copied.
        sources: the models.
        base: the base, if the method has one.
        cast: the dtype that inputs are rounded to before; None: they are not.
        copied: the tensor that is copied.
        finish: what is done with the merged tensor as a whole; None: nothing.
        rows: where the rows of a tensor over the vocabulary are from; None: all are as they are.
        decider: the model that `base` or `copied` is of.
        seed: of what is random.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    method: Method | None = None
    sources: tuple[Source, ...] = ()
    base: Held | None = None
    cast: str | None = None
    copied: Held | None = None
    finish: Filter | None = None
    rows: TokenRows | None = None
    decider: str = ""
    seed: int = 0

    @property
    def whole(self) -> bool:
        """Whether it is computed in one piece."""
        whole = self.method is not None and self.method.cut == "whole"
        scaled = self.copied is not None and self.copied.scaled is not None
        return whole or scaled or self.finish is not None

    @property
    def inputs(self) -> list[Held]:
        """All tensors that are read."""
        given = [source.held for source in self.sources]
        given += [held for held in (self.base, self.copied) if held is not None]
        more = () if self.rows is None else self.rows.held.values()
        return given + [held for held in more if held not in given]

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that are written."""
        return self.numel * item_size(self.dtype)

    @property
    def bytes_read(self) -> int:
        """The bytes of all inputs."""
        return sum(held.nbytes for held in self.inputs)

    @property
    def bytes_cast(self) -> int:
        """The memory of the inputs that are rounded before the merge."""
        if self.cast is None or self.by_rows:
            return 0
        rounded = [held for held in self.inputs if self.rounds(held)]
        return sum(held.numel * item_size(self.cast) for held in rounded)

    @property
    def by_rows(self) -> bool:
        """Whether rows over the vocabulary are put in order range by range.

        A method that looks at the whole tensor first, or draws for the whole of it, needs them all.
        """
        if self.rows is None or self.rows.axis != 0 or self.finish is not None or self.bytes_scaled:
            return False
        method = self.method
        if method is None:
            return True
        kind = type(method)
        looks = kind.facts is not Method.facts or kind.prepare is not Method.prepare
        row = math.prod(self.shape[1:])
        fits = method.cut == "elementwise" or (
            method.cut == "rowwise" and row % method.row(self.shape) == 0
        )
        return fits and not looks and not method.random

    @property
    def bytes_gathered(self) -> int:
        """The memory of the inputs whose rows are put into another order as a whole."""
        if self.rows is None or self.by_rows:
            return 0
        moved = [held for held in self.rows.members if self.rows.moves(held)]
        return sum(self.numel * item_size(held.dtype) for held in moved)

    @property
    def bytes_scaled(self) -> int:
        """The memory of the inputs that are stored in 8 bits with scales."""
        return sum(4 * held.numel for held in self.inputs if held.scaled is not None)

    def rounds(self, held: Held) -> bool:
        """Whether an input is rounded before the merge, which takes a copy of it."""
        cast = self.cast
        return cast is not None and is_float(held.dtype) and not keeps_values(held.dtype, cast)

    @property
    def working_bytes(self) -> int:
        """An upper estimate of the memory of this tensor, beside mapped files and buffers."""
        if self.method is None:
            return self.bytes_gathered + self.bytes_scaled
        own = self.method.working_bytes(self.shape, len(self.sources))
        whole = self.nbytes if self.whole else 0
        finish = 4 * self.numel * (len(self.sources) + 6) if self.finish is not None else 0
        return own + whole + finish + self.bytes_cast + self.bytes_gathered + self.bytes_scaled
