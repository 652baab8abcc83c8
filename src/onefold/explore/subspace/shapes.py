"""Lines, curves and simplexes: the coefficients of a point, and how points are drawn.

    line      w = (1 - a) w_0 + a w_1                           a ~ U(0, 1)
    curve     w = sum_k C(d, k) (1 - a)^(d-k) a^k w_k           a ~ U(0, 1)
    simplex   w = sum_k b_k w_k                                 b ~ Dirichlet(1, ..., 1)

The curve is a Bezier curve of degree d, d = 2 with three vertices. The simplex is drawn by
normalised draws of Exp(1).

Wortsman, Horton, Guestrin, Farhadi & Rastegari 2021, "Learning Neural Network Subspaces" (arXiv
2102.10472).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onefold.errors import SubspaceError, nearest

Coefficients = tuple[float, ...]
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Shape:
    """A line, curve or simplex.

    Attributes:
        name: "line", "curve" or "simplex".
        vertices: how many it has.
    """

    name: str
    vertices: int

    @classmethod
    def of(cls, name: str, vertices: int | None) -> Shape:
        """The shape of this name; None takes two vertices for a line and three for the others.

        Raises:
            SubspaceError: there is no such shape, or it cannot have so many vertices.
        """
        if name not in ("line", "curve", "simplex"):
            raise SubspaceError(
                f"There is no shape '{name}'; {nearest(str(name), ('line', 'curve', 'simplex'))}"
            )
        count = vertices if vertices is not None else 2 if name == "line" else 3
        least, most = {"line": (2, 2), "curve": (3, 20), "simplex": (2, 1000)}[name]
        if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= most:
            wanted = "exactly 2" if least == most else f"{least} to {most}"
            raise SubspaceError(
                f"A {name} has {wanted} vertices, not {count!r}; pass"
                f" vertices={least}{' or more' * (least != most)}."
            )
        return cls(name, count)

    def draw(self, random: np.random.Generator, rows: int) -> list[Coefficients]:
        """`rows` independent points, each as the coefficients of the vertices, which sum to one."""
        if self.name == "simplex":
            exponential = random.exponential(size=(rows, self.vertices))
            return [tuple((row / row.sum()).tolist()) for row in exponential]
        return [self._bezier(float(a)) for a in random.random(rows)]

    def pair(self, random: np.random.Generator) -> tuple[int, int]:
        """The two vertices whose likeness is penalised: the ends, or a random pair of a simplex."""
        if self.name != "simplex":
            return 0, self.vertices - 1
        first, second = random.permutation(self.vertices)[:2].tolist()
        return first, second

    def middle(self) -> Coefficients:
        """The midpoint: halfway along a line or curve, the centre of a simplex."""
        return (1 / self.vertices,) * self.vertices if self.name == "simplex" else self._bezier(0.5)

    def point(self, where: float | Sequence[float]) -> Coefficients:
        """The coefficients of a point.

        Args:
            where: the coefficients themselves, or for a line or curve a position from 0 to 1.

        Raises:
            SubspaceError: the point lies outside the shape.
        """
        if isinstance(where, int | float):
            if self.name == "simplex":
                raise SubspaceError(
                    f"A point of a simplex needs {self.vertices} weights that sum to 1, not the"
                    f" single number {where}."
                )
            if not 0 <= where <= 1:
                raise SubspaceError(
                    f"The position {where} lies outside the {self.name}; give a number from 0 to 1."
                )
            return self._bezier(float(where))
        weights = tuple(float(w) for w in where)
        if len(weights) != self.vertices:
            raise SubspaceError(
                f"The {self.name} has {self.vertices} vertices, but {len(weights)} weights were"
                " given; give one for each."
            )
        if (
            not all(math.isfinite(w) for w in weights)
            or min(weights) < -_TOLERANCE
            or abs(sum(weights) - 1) > _TOLERANCE
        ):
            raise SubspaceError(
                f"The weights {list(weights)} lie outside the {self.name}: give numbers from 0 to 1"
                " that sum to 1."
            )
        return weights

    def corner(self, index: int) -> Coefficients:
        """The coefficients of one vertex.

        Raises:
            SubspaceError: there is no vertex of this number.
        """
        if not 0 <= index < self.vertices:
            raise SubspaceError(
                f"There is no vertex {index}; the {self.name} has {self.vertices}, counted from 0."
            )
        return tuple(float(k == index) for k in range(self.vertices))

    def spread(self, count: int, random: np.random.Generator) -> list[Coefficients]:
        """The points of an ensemble of `count` networks.

        They are even from 0.2 to 0.8 along a line or curve (0.5 for one), and random in a simplex.

        Raises:
            SubspaceError: `count` is below 1.
        """
        if count < 1:
            raise SubspaceError(f"An ensemble needs at least one member, not {count}.")
        if self.name == "simplex":
            return self.draw(random, count)
        return (
            [self.middle()]
            if count == 1
            else [self._bezier(0.2 + 0.6 * k / (count - 1)) for k in range(count)]
        )

    def _bezier(self, a: float) -> Coefficients:
        degree = self.vertices - 1
        return tuple(
            math.comb(degree, k) * (1 - a) ** (degree - k) * a**k for k in range(self.vertices)
        )
