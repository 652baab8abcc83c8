"""Persistent rounds on a landscape of ten wells: the trajectories of four rounds from one start,
beside four starts nearby.

    python examples/persistent.py [picture.svg [seed of the landscape]]

Plain descent from nearby starts ends in the same well every time. Repelled from the wells it has
already found, it finds others. Runs in seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import onefold
from onefold.report import to_svg

ROUNDS, STEPS, RATE = 4, 500, 0.05


class Landscape(nn.Module):
    """A network of two weights, whose loss is 0.06 |x|^2 less the depths of ten round wells;
    `height` takes points (..., 2).
    """

    def __init__(self, seed: int, start: Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.centre = (torch.rand(10, 2, generator=generator) * 2 - 1) * 3
        self.depth = torch.rand(10, generator=generator) * 1.5 + 0.3
        self.x = nn.Parameter(start.clone())

    def height(self, x: Tensor) -> Tensor:
        squares = (x[..., None, :] - self.centre).square().sum(-1)
        return 0.06 * x.square().sum(-1) - (self.depth * (-squares / 0.72).exp()).sum(-1)

    def forward(self) -> Tensor:
        return self.height(self.x)


def descend(model: Landscape, run: onefold.PersistentTraining | None = None) -> Tensor:
    """Train for a round; where it went, (steps + 1, 2)."""
    optimiser = torch.optim.SGD(model.parameters(), RATE)
    trajectory = [model.x.detach().clone()]
    for _ in range(STEPS):
        loss = model() if run is None else model() + run.penalty()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        if run is not None:
            run.step()
        trajectory.append(model.x.detach().clone())
    return torch.stack(trajectory)


def persistent(seed: int, start: Tensor, control: bool = False) -> list[Tensor]:
    model = Landscape(seed, start)
    run = onefold.PersistentTraining(model, STEPS, strength=3.0, control=control)
    found = []
    for _ in range(ROUNDS):
        found.append(descend(model, run))
        run.record(score=-model().item())
        run.restart()
    return found


def restarts(seed: int, start: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        descend(Landscape(seed, start + 0.1 * torch.randn(2, generator=generator) * (k > 0)))
        for k in range(ROUNDS)
    ]


def draw(landscape: Landscape, ways: dict[str, list[Tensor]], lowest: Tensor) -> Any:
    """Contours of the landscape with the trajectories of each way; the global minimum is a star."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(ways), 4), layout="constrained")
    side = torch.linspace(-4, 4, 161)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
    with torch.no_grad():
        heights = landscape.height(grid)
    for k, (name, rounds) in enumerate(ways.items()):
        axes = figure.add_subplot(1, len(ways), k + 1)
        axes.contour(
            side.numpy(), side.numpy(), heights.numpy(), levels=20, colors="0.75", linewidths=0.6
        )
        axes.plot(
            *lowest.tolist(),
            marker="*",
            markersize=14,
            color="gold",
            markeredgecolor="black",
            linestyle="none",
        )
        for number, trajectory in enumerate(rounds):
            axes.plot(
                *trajectory.T.numpy(), color=f"C{number}", linewidth=1.5, label=f"round {number}"
            )
            axes.plot(
                *trajectory[-1].tolist(),
                marker="o",
                color=f"C{number}",
                markeredgecolor="black",
                linestyle="none",
            )
        axes.plot(
            *rounds[0][0].tolist(), marker="s", color="black", linestyle="none", label="start"
        )
        axes.set(
            title=name,
            xlabel="first weight",
            ylabel="second weight",
            aspect="equal",
            xlim=(-4, 4),
            ylim=(-4, 4),
        )
        if k == 0:
            axes.legend(fontsize=8, loc="lower right")
    return figure


def main(path: str = "persistent.svg", seed: int | str = 1) -> None:
    torch.set_num_threads(1)
    start = torch.tensor([-1.5, 1.0])
    landscape = Landscape(int(seed), start)
    side = torch.linspace(-4, 4, 401)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        heights = landscape.height(grid)
    ways = {
        "persistent rounds": persistent(int(seed), start),
        "uninformed control": persistent(int(seed), start, control=True),
        "restarts nearby": restarts(int(seed), start),
    }
    print(
        f"The lowest point of the landscape has the height {heights.min():.3f}. Where each round"
        " ended:\n"
    )
    print(" " * 22 + "".join(f"round {k:<4}" for k in range(ROUNDS)) + "best")
    with torch.no_grad():
        for name, rounds in ways.items():
            ends = [landscape.height(trajectory[-1]).item() for trajectory in rounds]
            print(f"{name:<22}" + "".join(f"{end:<10.3f}" for end in ends) + f"{min(ends):.3f}")
    Path(path).write_text(to_svg(draw(landscape, ways, grid[heights.argmin()])), encoding="utf-8")
    print(
        f"\nThe trajectories are drawn in {path}. One landscape proves little:"
        " docs/evidence/persistent_neurons.md has the figures over many."
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
