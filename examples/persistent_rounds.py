"""
Persistent rounds on a landscape
================================

Descent from one start ends in one valley, again and again. ``PersistentTraining`` trains in rounds
from the same start, and each round is repelled from where the rounds before it ended. This page
shows it where it can be seen: a "network" of two weights.
"""

# %%
# The landscape
# -------------
#
# The loss has ten round wells, drawn at random, in a shallow bowl.

import matplotlib.pyplot as plt
import torch
from torch import nn

import onefold


class Landscape(nn.Module):
    def __init__(self, seed, start):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.centre = (torch.rand(10, 2, generator=generator) * 2 - 1) * 3
        self.depth = torch.rand(10, generator=generator) * 1.5 + 0.3
        self.weights = nn.Parameter(start.clone())

    def height(self, points):
        squares = (points[..., None, :] - self.centre).square().sum(-1)
        wells = (self.depth * (-squares / 0.72).exp()).sum(-1)
        return 0.06 * points.square().sum(-1) - wells

    def forward(self):
        return self.height(self.weights)


# %%
# Rounds and restarts
# -------------------
#
# The loop is an ordinary one. The lines with ``run`` are all that rounds add to it: a penalty that
# repels, and that has faded away by three quarters of a round, so that a round ends on the loss
# itself.

ROUNDS, STEPS = 4, 400


def descend(model, run=None):
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    way = [model.weights.detach().clone()]
    for _ in range(STEPS):
        loss = model() if run is None else model() + run.penalty()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        if run is not None:
            run.step()
        way.append(model.weights.detach().clone())
    return torch.stack(way)


def rounds(seed, start, control=False):
    model = Landscape(seed, start)
    run = onefold.PersistentTraining(model, STEPS, strength=3.0, control=control)
    ways = []
    for _ in range(ROUNDS):
        ways.append(descend(model, run))
        run.record(score=-model().item())
        run.restart()
    return ways


def restarts(seed, start):
    generator = torch.Generator().manual_seed(seed)
    nudges = [0.1 * torch.randn(2, generator=generator) for _ in range(ROUNDS)]
    return [descend(Landscape(seed, start + nudge)) for nudge in nudges]


# %%
# Two landscapes, seen from above
# -------------------------------
#
# The control is repelled too, but from random points as far away as the solutions are. What it
# finds owes nothing to knowing where the solutions lie.

start = torch.tensor([-1.5, 1.0])
side = torch.linspace(-4, 4, 161)
grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
kinds = {
    "persistent rounds": rounds,
    "control": lambda seed, start: rounds(seed, start, control=True),
    "restarts nearby": restarts,
}


def draw(seed, found, lowest):
    landscape = Landscape(seed, start)
    figure, panels = plt.subplots(1, 3, figsize=(7.6, 3.1), sharey=True, layout="constrained")
    with torch.no_grad():
        heights = landscape.height(grid)
    for (name, ways), axes in zip(found.items(), panels, strict=True):
        axes.contour(side, side, heights, levels=14, colors="0.75", linewidths=0.6)
        for number, way in enumerate(ways):
            axes.plot(*way.T, color=f"C{number}", lw=1.5)
            axes.plot(*way[-1], "o", color=f"C{number}", mec="black")
        axes.plot(*start, "s", color="black", ms=5)
        axes.plot(*lowest, "*", color="gold", mec="black", ms=13)
        axes.set(xlabel="first weight", aspect="equal", title=name)
    panels[0].set_ylabel("second weight")
    figure.suptitle(f"Landscape {seed}: the square is the start, the star the lowest point")
    plt.show()


times = dict.fromkeys(kinds, 0)
for seed in range(8):
    found = {name: way_of(seed, start) for name, way_of in kinds.items()}
    with torch.no_grad():
        heights = Landscape(seed, start).height(grid)
        ends = {
            name: [Landscape(seed, way[-1])().item() for way in ways]
            for name, ways in found.items()
        }
    for name in kinds:
        times[name] += min(ends[name]) < heights.min() + 0.02
    if seed < 2:
        draw(seed, found, grid.flatten(0, 1)[heights.argmin()])
        print(f"landscape {seed}, lowest point at {heights.min():.2f}")
        for name in kinds:
            print(f"  {name:<18} ends at " + ", ".join(f"{end:.2f}" for end in ends[name]))

# %%
# Is it worth it?
# ---------------
#
# Two pictures prove little. Eight landscapes say a little more: how often was the best of the four
# ends the lowest point?

for name, count in times.items():
    print(f"{name:<18} found the lowest point in {count} of 8 landscapes")

# %%
# What the control finds too is owed to being pushed away from the start, and not to knowing where
# the solutions are. On real networks the answer is less clear: the evidence on persistent neurons
# has the figures of many more landscapes and of real networks.
