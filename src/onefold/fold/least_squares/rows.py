"""Rows of a layer's least squares: its inputs and outputs at sampled positions.

Every layer is one matrix for each of its groups. The output at a position is x W + b, and x holds
the inputs under the kernel's taps (im2col). This holds for linear layers, convolutions and
transposed convolutions: there the output position p gets the input (p + padding - dilation k) /
stride through the tap k, if that is an integer. Only the sampled positions are unfolded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from onefold.layers import Layer
from onefold.symmetry.exporting import shape_of


@dataclass(frozen=True)
class Geometry:
    """The input positions that a layer reads for an output position.

    All tuples have one entry for each axis of space. They are empty for linear layers.

    Attributes:
        kernel: the kernel's size.
        stride: the stride.
        padding: zeros on either side.
        dilation: the distance between taps.
        transposed: whether the convolution is transposed.
        example: the axis of the layer's values that counts examples.
    """

    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    transposed: bool = False
    example: int = 0

    def inputs(self, value: Tensor, sample: Sample, groups: int) -> Tensor:
        """The layer's inputs for every row, (groups, rows, taps x inputs of a group).

        Args:
            value: the value that the layer reads.
            sample: the sampled positions of its output.
            groups: the layer's groups.
        """
        if not self.kernel:
            return sample.take(value)[None]
        table = value.movedim(1, -1)
        space = table.shape[1:-1]
        index, valid = self._under(sample.coordinates[1:], space)
        index = index + sample.coordinates[0][:, None].to(index.device) * math.prod(space)
        rows = (
            table.reshape(-1, table.shape[-1])
            .index_select(0, index.reshape(-1).to(value.device))
            .reshape(*index.shape, -1)
        )
        if not bool(valid.all()):
            rows = rows * valid.to(rows.device)[..., None]
        count, taps, channels = rows.shape
        return (
            rows.reshape(count, taps, groups, channels // groups)
            .permute(2, 0, 1, 3)
            .reshape(groups, count, -1)
        )

    def _under(self, outputs: Sequence[Tensor], space: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The flat input position of each row and tap, and whether there is one."""
        taps = torch.tensor(list(itertools.product(*(range(k) for k in self.kernel))))
        flat = torch.zeros(len(outputs[0]), len(taps), dtype=torch.long)
        valid = torch.ones_like(flat, dtype=torch.bool)
        for axis, (at, size) in enumerate(zip(outputs, space, strict=True)):
            tap = taps[None, :, axis] * self.dilation[axis]
            if self.transposed:
                shifted = at.cpu()[:, None] + self.padding[axis] - tap
                valid &= shifted % self.stride[axis] == 0
                where = torch.div(shifted, self.stride[axis], rounding_mode="floor")
            else:
                where = at.cpu()[:, None] * self.stride[axis] - self.padding[axis] + tap
            valid &= (where >= 0) & (where < size)
            flat = flat * size + where.clamp(0, size - 1)
        return flat, valid


@dataclass(frozen=True)
class Sample:
    """Sampled positions of a layer's output. Rows are ordered by example.

    Attributes:
        coordinates: positions along every axis but the channels', the examples' axis first.
        axis: the axis of the channels.
        example: the axis that counts examples.
        held: how many of the last rows belong to held-out examples.
    """

    coordinates: tuple[Tensor, ...]
    axis: int
    example: int
    held: int

    def __len__(self) -> int:
        return len(self.coordinates[0])

    def take(self, value: Tensor) -> Tensor:
        """(rows, channels) of a value at these positions.

        The value may be the layer's output, or the input of a linear layer, whose last axis alone
        differs.
        """
        moved = value
        if self.example != self.axis:
            moved = value.movedim((self.example, self.axis), (0, -1))
        return moved[tuple(c.to(value.device) for c in self.coordinates)]


def draw(
    shape: Sequence[int],
    axis: int,
    example: int,
    examples: int,
    per: int,
    held: int,
    generator: torch.Generator,
) -> Sample:
    """Positions of an output of the given shape.

    Args:
        shape: the output's shape.
        axis: the axis of its channels.
        example: the axis that counts examples.
        examples: the number of examples.
        per: positions of each example; all of them if there are no more.
        held: how many of the last examples are held out.
        generator: the source of random positions.
    """
    order = [example, *(k for k in range(len(shape)) if k not in (example, axis))]
    sizes = [int(shape[k]) for k in order]
    total = math.prod(sizes)
    if total % examples == 0:
        positions = total // examples
        if per >= positions:
            within = torch.arange(positions).expand(examples, positions)
        else:
            within = torch.randint(positions, (examples, per), generator=generator).sort(1).values
        flat = (within + positions * torch.arange(examples)[:, None]).reshape(-1)
        held_rows = held * within.shape[1]
    else:  # the axis does not count examples: positions go by their order
        count = min(total, per * examples)
        flat = torch.randint(total, (count,), generator=generator).sort().values
        held_rows = int((flat >= total * (examples - held) / examples).sum())
    coordinates = []
    for size in reversed(sizes):
        coordinates.append(flat % size)
        flat = torch.div(flat, size, rounding_mode="floor")
    return Sample(tuple(reversed(coordinates)), axis, example, held_rows)


def geometry_of(layer: Layer, node: fx.Node) -> Geometry | None:
    """The layer's geometry from the arguments of its node.

    None if its padding or shape is of a kind that this does not know.
    """
    value = node.meta["val"]
    if layer.kind == "linear":
        shape, sizes = value.shape, shape_of(value)
        batch = [
            k
            for k in range(len(sizes))
            if k != layer.output_axis and isinstance(shape[k], torch.SymInt)
        ]
        return Geometry(example=batch[0] if batch else 0) if len(sizes) > 1 else None
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    names = [argument.name for argument in arguments]
    defaults = {a.name: a.default_value for a in arguments if a.has_default_value()}
    given = defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    weight = given["weight"].meta["val"]
    kernel = tuple(int(k) for k in weight.shape[2:])
    transposed = layer.kind == "conv_transpose"
    if layer.output_axis != 1 or value.dim() != len(kernel) + 2:
        return None

    def several(name: str) -> tuple[int, ...]:
        found = given.get(name, 1)
        values = [found] if isinstance(found, int) else list(found)
        return tuple(int(v) for v in (values * len(kernel) if len(values) == 1 else values))

    dilation, padding = several("dilation"), given.get("padding", 0)
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            return None
        pads = tuple(
            d * (k - 1) // 2 if padding == "same" else 0
            for d, k in zip(dilation, kernel, strict=True)
        )
    else:
        pads = several("padding")
    return Geometry(kernel, several("stride"), pads, dilation, transposed)
