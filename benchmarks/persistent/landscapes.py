"""Do rounds of persistent training leave a local minimum?

Landscapes of ten wells, and starts that all lie close together.

    f(x) = 0.06 |x|^2 - sum_i a_i exp(-|x - c_i|^2 / (2 * 0.6^2))
    c_i uniform in [-3, 3]^2, a_i uniform in [0.3, 1.8]
    x_0 = c + 0.1 N(0, 1), c uniform in [-2.5, 2.5]^2

    python benchmarks/persistent/landscapes.py --out benchmarks/results/persistent/landscapes.json

A start succeeds if one of four rounds of 500 steps ends within 0.05 of the global minimum. "fixed"
is one draw of six landscapes with centres, and seeds of the starts; "drawn" draws 150 landscapes
for every seed. The strengths are chosen on landscapes of their own, the controls' too.
"""

from __future__ import annotations

from typing import Any

import torch
from common import arguments_of, compare, rounds, with_strengths
from torch import Tensor

LANDSCAPES, STARTS, STEPS, CHOOSING = 150, 2, 500, 1000
WAYS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "gaussian, mirror": {"mirror": True},
    "inverse": {"kernel": "inverse"},
    "inverse, mirror": {"kernel": "inverse", "mirror": True},
    "hinge": {"kernel": "hinge", "width": 1.5},
    "cosine": {"kernel": "cosine"},
}
CANDIDATES = with_strengths(WAYS, (3.0, 10.0, 30.0), controls=list(WAYS)[:4])


class Landscapes:
    """Landscapes, and a centre of the starts in each."""

    def __init__(
        self, count: int, wells: torch.Generator, centres: torch.Generator, skip: int = 0
    ) -> None:
        self.centre = (torch.rand(count, 10, 2, generator=wells) * 2 - 1) * 3
        self.depth = torch.rand(count, 10, generator=wells) * 1.5 + 0.3
        if skip:  # numbers that other quantities took when the fixed landscapes were drawn
            torch.rand(count, skip, 2, generator=centres)
        self.start = (torch.rand(count, 1, 2, generator=centres) * 2 - 1) * 2.5
        side = torch.linspace(-4, 4, 161)
        grid = (
            torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
            .view(1, -1, 2)
            .expand(count, -1, -1)
        )
        self.lowest = self(grid).min(1, keepdim=True)[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Heights at points (landscapes, points, 2)."""
        squares = (x[:, :, None] - self.centre[:, None]).square().sum(-1)
        wells = (self.depth[:, None] * (-squares / (2 * 0.6**2)).exp()).sum(-1)
        return 0.06 * x.square().sum(-1) - wells


def successes(
    land: Landscapes, starts: int, seed: int, restarts: bool = False, **options: Any
) -> float:
    """Percentage of starts of which one of four rounds ends at the global minimum."""
    count = len(land.start)

    def start(number: int) -> list[list[Tensor]]:
        generator = torch.Generator().manual_seed(10_000 * (seed + 1) + number)
        return [
            [(land.start + 0.1 * torch.randn(count, starts, 2, generator=generator)).flatten(0, 1)]
        ]

    def height(tensors: list[list[Tensor]], _: int) -> Tensor:
        return land(tensors[0][0].view(count, starts, 2)).flatten()

    found = rounds(
        start, height, STEPS, lambda _: 0.05, clip=3.0, restarts=restarts, seed=seed, **options
    )
    return 100 * float((found.min(0)[0].view(count, starts) < land.lowest + 0.05).double().mean())


def drawn(seed: int) -> Landscapes:
    generator = torch.Generator().manual_seed(seed)
    return Landscapes(LANDSCAPES, generator, generator)


def fixed() -> Landscapes:
    return Landscapes(
        6, torch.Generator().manual_seed(3), torch.Generator().manual_seed(17), skip=150
    )


def main() -> None:
    arguments = arguments_of(__doc__)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    tasks = {
        "six fixed landscapes": lambda seed, options: successes(fixed(), 20, seed, **options),
        f"{LANDSCAPES} landscapes drawn for each seed": lambda seed, options: successes(
            drawn(seed), STARTS, seed, **options
        ),
    }
    own = drawn(CHOOSING)
    choose = lambda options: successes(own, STARTS, CHOOSING, **options)  # noqa: E731
    compare(
        CANDIDATES, choose, {"restarts": {"restarts": True}}, tasks, arguments.seeds, arguments.out
    )


if __name__ == "__main__":
    main()
