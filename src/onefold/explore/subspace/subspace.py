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

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.ensemble.ensemble import Ensemble
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import SubspaceError
from onefold.explore.subspace.drawn_network import PER_RANK, SHARED, DrawnNetwork
from onefold.explore.subspace.initialization import Initializer
from onefold.explore.subspace.parametrize import find_parameters
from onefold.explore.subspace.points import check_seed, with_statistics
from onefold.explore.subspace.shapes import Shape
from onefold.explore.subspace.vertices import check_alike, network_between, vertex_values
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.patterns import Patterns


class Subspace(DrawnNetwork):
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
            `reset_parameters`, and then the network's own `init_weights` or `_init_weights`.
        starts: networks of the same architecture as the first vertices, in order; None for one that
            is to be initialised.
        draws: "shared", the same point on all ranks, or "per rank".
        seed: of the draws and of the vertices' initialisation.

    Attributes:
        vertices: one module for each vertex, which holds its parameters.
        varied: the parameters that differ between points.
        network: a copy of the model, which runs at the drawn point.
        drawn_point: the coefficients of the last drawn point and the pair of vertices drawn with
            it; None before the first.

    Raises:
        SubspaceError: the shape or the vertices do not fit, or a vertex cannot be initialised.
        SettingError: a pattern matches nothing.
    """

    @checked
    @isolated
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
        init: Initializer | None = None,
        starts: Sequence[nn.Module | None] = (),
        draws: str = SHARED,
        seed: int = 0,
    ) -> None:
        chosen = Shape.of(shape, vertices)
        if not beta >= 0 or beta == float("inf"):
            raise SubspaceError(
                "The likeness of vertices is penalised with a weight of 0 or more, not"
                f" beta={beta}."
            )
        check_seed(seed)
        if draws not in (SHARED, PER_RANK):
            raise SubspaceError(f"Points are drawn '{SHARED}' or '{PER_RANK}', not '{draws}'.")
        for k in fixed:
            chosen.corner(k)
        varied = find_parameters(model, include, exclude)
        values = vertex_values(model, varied, chosen.vertices, init, starts, seed)
        super().__init__(
            model,
            chosen,
            varied,
            values,
            layerwise=layerwise,
            beta=beta,
            fixed=fixed,
            draws=draws,
            seed=seed,
        )

    @classmethod
    @checked
    @isolated
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

    @checked
    @isolated
    def grow(
        self,
        network: nn.Module | None = None,
        *,
        init: Initializer | None = None,
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
        self.drawn_point = self._new_draw()

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
        """The drawn point in float64, (vertices,), or with layerwise draws (modules, vertices).

        Raises:
            SubspaceError: no point has been drawn yet.
        """
        if self.drawn_point is None:
            raise SubspaceError("No point has been drawn yet; call sample() or run a step first.")
        rows = dict(zip(self._rows, zip(*self.drawn_point.coefficients, strict=True), strict=True))
        table = torch.tensor([rows[row] for row in sorted(rows)], dtype=torch.float64)
        return table if self.layerwise else table[0]

    # ---- points

    @checked
    @isolated
    def midpoint(self, data: Data | None = None) -> nn.Module:
        """The network at the midpoint, a plain module; see `at`."""
        return with_statistics(self._copy_at(self.shape.middle()), data, "the midpoint")

    @checked
    @isolated
    def vertex(self, index: int, data: Data | None = None) -> nn.Module:
        """The network at one vertex, a plain module; see `at`."""
        return with_statistics(self._copy_at(self.shape.corner(index)), data, f"vertex {index}")

    @checked
    @isolated
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

    @checked
    @isolated
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
        check_seed(seed)
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
