"""Subspace: a line, curve or simplex of accurate networks, trained in one run.

    minimise over the vertices   E_c [ L(sum_k c_k v_k) ] + beta cos^2(v_i, v_j)

A point c is drawn for every step (`shapes.py`). The likeness is that of a pair of vertices
(`mixing.py`). The run costs about as much as that of one network, for any network. Wortsman,
Horton, Guestrin, Farhadi & Rastegari 2021, "Learning Neural Network Subspaces" (arXiv 2102.10472).

The wrapped network runs as it is: the tensors of the drawn point replace its parameters
(`parametrize.py`), and one node of the graph takes the gradients from there to the vertices.
Optimiser, clipping, accumulation, mixed precision and distributed wrappers see ordinary parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onefold.batches import Data, check_reiterable
from onefold.caches import clear_eval_caches
from onefold.distributed import rank
from onefold.ensemble.ensemble import Ensemble
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import SubspaceError
from onefold.explore.subspace.initialization import Initialiser
from onefold.explore.subspace.mixing import Draw, mix
from onefold.explore.subspace.parametrize import (
    ParameterRef,
    assign,
    detach_parameters,
    find_parameters,
    owners_in,
    plain_copy,
)
from onefold.explore.subspace.points import with_statistics
from onefold.explore.subspace.shapes import Coefficients, Shape
from onefold.explore.subspace.vertices import as_module, check_alike, network_between, vertex_values
from onefold.inference import OutputChoice
from onefold.patterns import Patterns

SHARED, PER_RANK = "shared", "per rank"


class Subspace(nn.Module):
    """A line, curve or simplex of networks of one architecture; train it like the network itself.

        space = onefold.Subspace(model, shape="simplex")
        optimiser = torch.optim.SGD(space.parameters(), ...)
        for x, y in loader:
            loss = F.cross_entropy(space(x), y) + space.diversity_penalty()
            optimiser.zero_grad(); loss.backward(); optimiser.step()
        network = space.midpoint(loader)

    In training mode a forward pass runs the network at the point drawn for this step. It draws a
    new point once a backward pass has gone through the last one. After a call of `sample()` only
    further calls of it draw. In evaluation mode the network runs at the midpoint, with the running
    statistics of training (`midpoint(data)` has its own). The model is copied and left as it is.

    Args:
        model: any network; its values become the first vertex.
        shape: "line", "curve" (Bezier) or "simplex".
        vertices: how many; by default 2 for a line, else 3.
        layerwise: draw a point of its own for every module; its weight and bias share it.
        include: patterns of parameter or module names that may differ between points; None: all.
        exclude: patterns of those that may not. These and frozen parameters are shared by all
            points.
        beta: weight of the likeness of two vertices, cos^2 over all weights of two or more
            dimensions; 0 leaves it out.
        fixed: numbers of vertices that are not trained.
        init: initialises a network in place, for the other vertices; by default every module's
            `reset_parameters`.
        starts: networks of the same architecture as the first vertices, in order; None for one that
            is to be initialised.
        draws: "shared", the same point on all ranks, or "per rank".
        seed: of the draws and of the vertices' initialisation.

    Attributes:
        vertices: one module for each vertex, which holds its parameters.
        varied: the parameters that differ between points.
        network: a copy of the model, which runs at the drawn point.

    Raises:
        SubspaceError: the shape or the vertices do not fit, or a vertex cannot be initialised.
        SettingError: a pattern matches nothing.
    """

    vertices: nn.ModuleList
    # Otherwise the Trainer of Hugging Face takes **kwargs as a sign that the loss is divided for
    # accumulation already.
    accepts_loss_kwargs = False

    def __init__(
        self,
        model: nn.Module,
        shape: str = "simplex",
        vertices: int | None = None,
        layerwise: bool = False,
        include: Patterns = None,
        exclude: Patterns = None,
        beta: float = 1.0,
        fixed: Sequence[int] = (),
        *,
        init: Initialiser | None = None,
        starts: Sequence[nn.Module | None] = (),
        draws: str = SHARED,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape = Shape.of(shape, vertices)
        if not beta >= 0 or beta == float("inf"):
            raise SubspaceError(
                "The likeness of vertices is penalised with a weight of 0 or more, not"
                f" beta={beta}."
            )
        if draws not in (SHARED, PER_RANK):
            raise SubspaceError(f"Points are drawn '{SHARED}' or '{PER_RANK}', not '{draws}'.")
        for k in fixed:
            self.shape.corner(k)
        self.beta, self.layerwise, self.draws = float(beta), layerwise, draws
        self.seed, self.drawn = int(seed), 0
        self.fixed = tuple(sorted(set(fixed)))
        self.varied = find_parameters(model, include, exclude)
        values = vertex_values(model, self.varied, self.shape.vertices, init, starts, seed)
        self.network = copy.deepcopy(model)
        self._orders = detach_parameters(self.network, self.varied)
        self.vertices = nn.ModuleList(
            as_module(self.varied, each, k not in self.fixed) for k, each in enumerate(values)
        )
        self._rows = _rows(self.varied) if layerwise else [0] * len(self.varied)
        weights = [t for t, value in enumerate(values[0]) if value.dim() > 1]
        self._compared: list[int] = weights or list(range(len(self.varied)))
        self._middle = Draw(self._columns([self.shape.middle()] * (max(self._rows) + 1)), (0, 0))
        self._by_hand = False
        self._draw: Draw | None = None
        self._reset_draw()
        self.register_load_state_dict_post_hook(_reset_after_loading)  # type: ignore[no-untyped-call]

    @classmethod
    def between(
        cls,
        a: nn.Module,
        b: nn.Module,
        shape: str = "curve",
        vertices: int | None = None,
        beta: float = 0.0,
        **options: Any,
    ) -> Subspace:
        """A line or curve between two trained networks, whose ends stay as they are.

        The inner vertices start on the straight line and are trained. Such curves of low loss
        connect independent networks (Garipov et al. 2018, arXiv 1802.10026; Draxler et al. 2018,
        arXiv 1803.00885). The buffers are those of `a`. Statistics are computed anew for every
        point.

        Args:
            a: the first end.
            b: the last end, of the same architecture.
            shape: "line" or "curve".
            vertices: how many, with the ends.
            beta: weight of the likeness of the ends.
            **options: further arguments of `Subspace`.

        Raises:
            SubspaceError: the networks differ in architecture, or `shape` is a simplex. Others as
                `Subspace`.
        """
        if shape == "simplex":
            raise SubspaceError(
                "Between two networks there is a line or a curve; a simplex takes them as"
                " starts=[a, b] instead."
            )
        count = Shape.of(shape, vertices).vertices
        check_alike(a, b, "the second end")
        bends = [network_between(a, b, k / (count - 1)) for k in range(1, count - 1)]
        return cls(
            a, shape, count, beta=beta, fixed=(0, count - 1), starts=[a, *bends, b], **options
        )

    def grow(
        self,
        network: nn.Module | None = None,
        *,
        init: Initialiser | None = None,
        fixed: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Subspace:
        """A new simplex with one more vertex; a line grows into a triangle.

        Args:
            network: the new vertex; None initialises one.
            init: initialises a network in place, as in `Subspace`.
            fixed: the vertices that are not trained; None fixes all old ones.
            seed: of the draws and of the initialisation.

        Raises:
            SubspaceError: this is a curve, or the network differs in architecture. Others as
                `Subspace`.
        """
        if self.shape.name == "curve":
            raise SubspaceError("A curve cannot grow by a vertex; grow a line or a simplex.")
        own = [self._copy_at(self.shape.corner(k)) for k in range(self.shape.vertices)]
        wanted = {ref.name for ref in self.varied}
        exclude = [
            ref.name for ref in find_parameters(own[0], None, None) if ref.name not in wanted
        ]
        return type(self)(
            own[0],
            "simplex",
            len(own) + 1,
            self.layerwise,
            exclude=exclude or None,
            beta=self.beta,
            init=init,
            starts=[*own, network],
            fixed=range(len(own)) if fixed is None else fixed,
            draws=self.draws,
            seed=seed,
        ).train(self.training)

    # ---- in training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network at the drawn point in training mode, else at the midpoint."""
        self._prepare()
        return self.network(*args, **kwargs)

    def sample(self) -> None:
        """Draw the point of the next steps. From the first call on, only this call draws."""
        self._by_hand = True
        self._draw = self._new_draw()

    def diversity_penalty(self) -> Tensor:
        """The likeness of the drawn pair of vertices times beta, to be added to the loss.

        Returns:
            A tensor without axes; 0 if beta is 0.

        Raises:
            SubspaceError: the subspace is in evaluation mode.
        """
        if not self.training:
            raise SubspaceError("The penalty belongs to a step of training; call train() first.")
        self._prepare()
        if self._likeness is None:
            return torch.zeros((), device=next(self.parameters()).device)
        return self.beta * self._likeness

    @property
    def coefficients(self) -> Tensor:
        """The drawn point, float64: (vertices,), or with layerwise draws (modules, vertices).

        Raises:
            SubspaceError: no point has been drawn yet.
        """
        if self._draw is None:
            raise SubspaceError("No point has been drawn yet; call sample() or run a step first.")
        rows = dict(zip(self._rows, zip(*self._draw.coefficients, strict=True), strict=True))
        table = torch.tensor([rows[row] for row in sorted(rows)], dtype=torch.float64)
        return table if self.layerwise else table[0]

    # ---- points

    def midpoint(self, data: Data | None = None) -> nn.Module:
        """The network at the midpoint, a plain module; see `at`."""
        return with_statistics(self._copy_at(self.shape.middle()), data, "the midpoint")

    def vertex(self, index: int, data: Data | None = None) -> nn.Module:
        """The network at one vertex, a plain module; see `at`."""
        return with_statistics(self._copy_at(self.shape.corner(index)), data, f"vertex {index}")

    def at(self, where: float | Sequence[float], data: Data | None = None) -> nn.Module:
        """The network at a point, a plain module of the model's class in evaluation mode.

        It has weights of its own. The subspace's own statistics stay as they are.

        Args:
            where: weights of the vertices that sum to 1, or for a line or curve a position from 0
                to 1.
            data: training batches, on which the statistics of batch norms are computed.

        Raises:
            SubspaceError: the point lies outside, or the network has batch norm and there is no
                data.
            DataError: the data cannot be used.
        """
        return with_statistics(
            self._copy_at(self.shape.point(where)), data, "the network at a point"
        )

    def ensemble(
        self,
        n: int,
        data: Data | None = None,
        at: Iterable[float | Sequence[float]] | None = None,
        ensemble: EnsembleMean | ClassPool = "probabilities",
        seed: int = 0,
        output: OutputChoice = None,
    ) -> Ensemble:
        """Several networks of the subspace that answer as one.

        Args:
            n: how many networks.
            data: training batches, as in `at`.
            at: their points; by default evenly from 0.2 to 0.8 of a line or curve, and n random
                points of a simplex.
            ensemble: "probabilities", "logits" (as in the paper), "outputs" or a pool of n members
                (see `onefold.Ensemble`).
            seed: of the random points of a simplex.
            output: which output is averaged (see `onefold.Ensemble`).

        Raises:
            SubspaceError: a point lies outside, there are not n of them, or as `at`.
            SettingError: there is no such ensemble.
        """
        check_ensemble(ensemble, ENSEMBLE_MEANS, n)
        points = (
            [self.shape.point(where) for where in at]
            if at is not None
            else self.shape.spread(n, np.random.default_rng([seed, 1]))
        )
        if len(points) != n:
            raise SubspaceError(
                f"An ensemble of {n} was asked for, but {len(points)} points were given."
            )
        again = None if data is None else check_reiterable(data)
        return Ensemble(
            [with_statistics(self._copy_at(point), again, "an ensemble") for point in points],
            ensemble,
            output,
        )

    # ---- state

    def get_extra_state(self) -> Tensor:
        """(2,) int64: seed and number of draws, on which all further draws on every rank depend."""
        return torch.tensor([self.seed, self.drawn], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the draws from where `state` was taken."""
        self.seed, self.drawn = (int(value) for value in state)

    def train(self, mode: bool = True) -> Subspace:
        """Set the mode, as for any module. A change of mode ends the use of the drawn point."""
        if mode != self.training:
            self._assign_first_vertex()
        return super().train(mode)

    def extra_repr(self) -> str:
        """The settings in one line."""
        fixed = self.fixed if len(self.fixed) <= 8 else f"{len(self.fixed)} vertices"
        return (
            f"shape={self.shape.name!r}, vertices={self.shape.vertices},"
            f" layerwise={self.layerwise}, beta={self.beta}, fixed={fixed},"
            f" tensors={len(self.varied)}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.network).__name__}, {self.extra_repr()})"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Subspace:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._reset_draw()
        return self

    def _replicate_for_data_parallel(self) -> Subspace:
        raise SubspaceError(
            "A subspace cannot run under nn.DataParallel, whose replicas have no parameters; use"
            " nn.parallel.DistributedDataParallel."
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state of copies and pickles: all but the point in use, which belongs to a graph."""
        self._assign_first_vertex()
        state = dict(self.__dict__)
        for name in ("_owners", "_draw", "_assigned", "_likeness"):
            state[name] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._reset_draw()

    # ---- the point that the network holds

    def _tensors(self) -> list[list[Tensor]]:
        """The tensors of every vertex, looked up anew, since .to() and loading may replace them."""
        return [[vertex.get_parameter(ref.name) for ref in self.varied] for vertex in self.vertices]

    def _reset_draw(self) -> None:
        """Drop the drawn point, as after a move to another device or new values."""
        self._owners = owners_in(self.network, self.varied)
        self._draw = None
        self._assign_first_vertex()

    def _assign_first_vertex(self) -> None:
        """Let the network hold the first vertex, without a copy and outside any graph."""
        self._assigned: tuple[Draw, list[int], bool] | None = None
        self._likeness: Tensor | None = None
        assign(self._owners, [tensor.detach() for tensor in self._tensors()[0]])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _prepare(self) -> None:
        """Let the network hold the point at which a forward pass should run."""
        if not self.training:
            self._assign(self._middle)
            return
        if self._draw is None or (self._draw.spent and not self._by_hand):
            self._draw = self._new_draw()
        self._assign(self._draw)

    def _assign(self, draw: Draw) -> None:
        tensors = self._tensors()
        state = (
            draw,
            [tensor._version for vertex in tensors for tensor in vertex],
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
        self._assigned = state

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


def _reset_after_loading(space: Subspace, keys: object) -> None:
    """Reset the draw after loading. The hook has a name, since pickles can hold no lambda."""
    space._reset_draw()


def _rows(refs: Sequence[ParameterRef]) -> list[int]:
    """For every parameter the number of its module, counted in order."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(ref.module, len(numbers)) for ref in refs]
