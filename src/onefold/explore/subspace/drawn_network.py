"""A network that runs at drawn points between its vertices.

The module holds the vertices and one network with detached parameters (`parametrize.py`). Before a
forward pass the tensors of a point are assigned to the network: the drawn point in training mode,
the midpoint in evaluation mode (`mixing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.distributed import rank
from onefold.errors import SubspaceError
from onefold.explore.subspace.mixing import Draw, mix, transforming
from onefold.explore.subspace.parametrize import (
    ParameterRef,
    assign,
    detach_parameters,
    owners_in,
    plain_copy,
)
from onefold.explore.subspace.shapes import Coefficients, Shape
from onefold.explore.subspace.vertices import as_module

SHARED, PER_RANK = "shared", "per rank"

Self = TypeVar("Self", bound="DrawnNetwork")


class DrawnNetwork(nn.Module):
    """The vertices, the network that runs between them, and the draws.

    Args:
        model: the network; it is copied.
        shape: of the points.
        varied: the parameters that differ between points.
        values: for each vertex one tensor for each of `varied`.
        layerwise: draw a point of its own for every module.
        beta: weight of the likeness of two vertices.
        fixed: numbers of vertices that are not trained.
        draws: "shared", the same point on all ranks, or "per rank".
        seed: of the draws.
    """

    vertices: nn.ModuleList
    # Otherwise the Trainer of Hugging Face takes **kwargs as a sign that the loss is divided for
    # accumulation already.
    accepts_loss_kwargs = False

    def __init__(
        self,
        model: nn.Module,
        shape: Shape,
        varied: Sequence[ParameterRef],
        values: Sequence[Sequence[Tensor]],
        *,
        layerwise: bool,
        beta: float,
        fixed: Sequence[int],
        draws: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.shape, self.varied = shape, list(varied)
        self.beta, self.layerwise, self.draws = float(beta), layerwise, draws
        self.seed, self.drawn = int(seed), 0
        self.fixed = tuple(sorted(set(fixed)))
        self.network = copied(model)
        self._orders = detach_parameters(self.network, self.varied)
        self.vertices = nn.ModuleList(
            as_module(self.varied, each, k not in self.fixed) for k, each in enumerate(values)
        )
        self._rows = _rows(self.varied) if layerwise else [0] * len(self.varied)
        weights = [t for t, value in enumerate(values[0]) if value.dim() > 1]
        self._compared: list[int] = weights or list(range(len(self.varied)))
        self._middle = Draw(self._columns([self.shape.middle()] * (max(self._rows) + 1)), (0, 0))
        self._by_hand = False
        self.drawn_point: Draw | None = None
        self._reset_draw()
        hook: Any = self.register_load_state_dict_post_hook
        hook(_reset_after_loading)

    # ---- state

    def get_extra_state(self) -> Tensor:
        """(2,) int64: seed and number of draws, on which all further draws on every rank depend."""
        return torch.tensor([self.seed, self.drawn], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the draws from where `state` was taken."""
        self.seed, self.drawn = (int(value) for value in state)

    def train(self: Self, mode: bool = True) -> Self:
        """Set the mode, as for any module. A change of mode ends the use of the drawn point."""
        if mode != self.training:
            self._assign_first_vertex()
        return super().train(mode)

    def _apply(self: Self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._reset_draw()
        return self

    def _replicate_for_data_parallel(self: Self) -> Self:
        raise SubspaceError(
            "A subspace cannot run under nn.DataParallel, whose replicas have no parameters; use"
            " nn.parallel.DistributedDataParallel."
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state of copies and pickles: all but the point in use, which belongs to a graph."""
        self._assign_first_vertex()
        state = dict(self.__dict__)
        for name in ("_owners", "drawn_point", "_assigned", "_likeness"):
            state[name] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._reset_draw()

    # ---- the point that the network holds

    def _tensors(self) -> list[list[Tensor]]:
        """The tensors of every vertex, looked up anew, since .to() and loading may replace them."""
        # Not get_parameter, as torch.func.functional_call puts plain tensors in their place.
        return [[attrgetter(ref.name)(vertex) for ref in self.varied] for vertex in self.vertices]

    def _reset_draw(self) -> None:
        """Drop the drawn point, as after a move to another device or new values."""
        self._owners = owners_in(self.network, self.varied)
        self.drawn_point = None
        self._assign_first_vertex()

    def _assign_first_vertex(self) -> None:
        """Let the network hold the first vertex, without a copy and outside any graph."""
        self._assigned: tuple[Draw, list[tuple[int, int]], bool] | None = None
        self._likeness: Tensor | None = None
        assign(self._owners, [tensor.detach() for tensor in self._tensors()[0]])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _prepare(self) -> None:
        """Let the network hold the point at which a forward pass should run."""
        if not self.training:
            self._assign(self._middle)
            return
        if self.drawn_point is None or (self.drawn_point.spent and not self._by_hand):
            self.drawn_point = self._new_draw()
        self._assign(self.drawn_point)

    def _assign(self, draw: Draw) -> None:
        tensors = self._tensors()
        state = (
            draw,
            [(id(tensor), tensor._version) for vertex in tensors for tensor in vertex],
            torch.is_grad_enabled(),
        )
        if (
            self._assigned is not None
            and self._assigned[0] is draw
            and self._assigned[1:] == state[1:]
        ):
            return
        if self._assigned is not None:
            self._assign_first_vertex()  # frees the last point before there is another
        with torch.autocast(tensors[0][0].device.type, enabled=False):
            point, self._likeness = mix(tensors, draw)
        assign(self._owners, point)
        if not self.training:
            clear_eval_caches(self.network)
        self._assigned = None if transforming() else state  # what is in a transform ends with it

    def _new_draw(self) -> Draw:
        stream = rank() + 1 if self.draws == PER_RANK else 0
        random = np.random.default_rng([self.seed, stream, self.drawn])
        self.drawn += 1
        points = self.shape.draw(random, max(self._rows) + 1)
        return Draw(
            self._columns(points),
            self.shape.pair(random),
            self._compared if self.beta else (),
            check=self._check,
        )

    def _columns(self, points: Sequence[Coefficients]) -> list[list[float]]:
        """For every vertex its coefficient of each tensor."""
        return [[points[row][k] for row in self._rows] for k in range(self.shape.vertices)]

    def _check(self, draw: Draw) -> None:
        if self._assigned is None or self._assigned[0] is not draw:
            raise SubspaceError(
                "Gradients were asked of a point that no longer stands in the network, as another"
                " was drawn since; call backward() before the next draw, or run all passes of one"
                " loss at one point."
            )

    def _copy_at(self, coefficients: Coefficients) -> nn.Module:
        tensors = self._tensors()
        with torch.no_grad():
            point, _ = mix(
                tensors, Draw(self._columns([coefficients] * (max(self._rows) + 1)), (0, 0))
            )
        self._assign_first_vertex()
        clear_eval_caches(self.network)
        return plain_copy(self.network, self.varied, self._orders, point)


def _reset_after_loading(network: DrawnNetwork, keys: object) -> None:
    """Reset the draw after loading. The hook has a name, since pickles can hold no lambda."""
    network._reset_draw()


def _rows(refs: Sequence[ParameterRef]) -> list[int]:
    """For every parameter the number of its module, counted in order."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(ref.module, len(numbers)) for ref in refs]
