"""Outputs of random methods, compared by their statistics.

Which elements change is drawn by chance on both sides. Over all elements, three statistics are
compared: whether an element changed, by how much along its whole change, and the square of that.
Elements are independent of one another and have the same distribution on both sides. The mean of
the differences over its standard error is then a standard normal number, z.

Where one model alone is merged, each element's probability p is known, and what is kept is the
change times one factor for each tensor. Then both sides are compared with the expectation as well:
sums of (kept - p) x have the variance p (1 - p) x^2, for x of 1, |change| and change^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import yaml
from torch import Tensor

State = dict[str, Tensor]
FAR = 4.5  # z beyond which chance is no explanation
SAME = 1e-4  # of the factor of one tensor's kept elements: changes are read off rounded sums


@dataclass(frozen=True)
class Statistics:
    """How far two random outputs, or one and its expectation, lie apart.

    Attributes:
        elements: number of elements that some model changes.
        shares: the share of them that changed, of onefold and of mergekit.
        between: z of the three statistics between both.
        expected: z of the three statistics against the expectation, of onefold and of mergekit.
        factors: the greatest relative difference of an element from its change times the factor of
            its tensor, and of that factor from its expectation; of onefold and of mergekit.
    """

    elements: int
    shares: tuple[float, float]
    between: list[float]
    expected: tuple[list[float], list[float]] | None = None
    factors: tuple[float, float] | None = None

    @property
    def greatest(self) -> float:
        """The greatest |z|."""
        every = [*self.between, *(z for side in self.expected or () for z in side)]
        return max(abs(z) for z in every)

    @property
    def agrees(self) -> bool:
        """Whether chance alone explains what is different."""
        return self.greatest < FAR and max(self.factors or (0.0,)) < SAME


def statistics(
    text: str, base: State, models: list[State], ours: State, theirs: State
) -> Statistics:
    """The statistics of one configuration.

    Args:
        text: the document.
        base: the base.
        models: what the document merges into it.
        ours: the output of onefold.
        theirs: the output of mergekit.
    """
    names = sorted(ours)
    whole = [sum((m[n] - base[n]).double() for m in models) for n in names]
    used = torch.cat([_any_changed(n, base, models).flatten() for n in names])
    along = torch.cat([w.sign().flatten() for w in whole])[used]
    sides = []
    for side in (ours, theirs):
        change = torch.cat([(side[n].double() - base[n].double()).flatten() for n in names])[used]
        sides.append(torch.stack([(change != 0).double(), change * along, change.square()]))
    apart = sides[0] - sides[1]
    between = apart.mean(1) / (apart.std(1) / apart.shape[1] ** 0.5).clamp(min=1e-300)
    shares = (float(sides[0][0].mean()), float(sides[1][0].mean()))
    numbers = [round(float(z), 2) for z in between]
    content = yaml.safe_load(text)
    if len(models) > 1:
        return Statistics(int(used.sum()), shares, numbers)
    expected, factors = zip(
        *(against_expectation(content, base, models[0], side) for side in (ours, theirs)),
        strict=True,
    )
    return Statistics(int(used.sum()), shares, numbers, expected, factors)


def _any_changed(name: str, base: State, models: list[State]) -> Tensor:
    return torch.stack([model[name] != base[name] for model in models]).any(0)


def against_expectation(
    content: dict[str, Any], base: State, model: State, side: State
) -> tuple[list[float], float]:
    """z of the three statistics of one model's kept changes, and the difference of factors."""
    given = content["parameters"]
    density, epsilon = given["density"], given.get("epsilon", 0.0)
    summed, variances, worst = torch.zeros(3).double(), torch.zeros(3).double(), 0.0
    for name, tensor in side.items():
        change = (model[name] - base[name]).double()
        if not change.any():
            continue
        p = probabilities(change, density, epsilon)[change != 0]
        found = (tensor.double() - base[name].double())[change != 0]
        change = change[change != 0]
        kept = found != 0
        powers = torch.stack([torch.ones_like(change), change.abs(), change.square()])
        summed += ((kept.double() - p) * powers).sum(1)
        variances += (p * (1 - p) * powers.square()).sum(1)
        wanted = 1.0
        if given.get("rescale", True):
            wanted = float(change.abs().sum() / change[kept].abs().sum())
        size = tensor.double().abs().max()
        worst = max(worst, float((found[kept] - wanted * change[kept]).abs().max() / size))
    return [round(float(z), 2) for z in summed / variances.sqrt()], worst


def probabilities(change: Tensor, density: float, epsilon: float) -> Tensor:
    """The probability of each element: by its rank in its row, from 0 to 1."""
    rows = change.abs().reshape(1 if change.ndim < 2 else change.shape[0], -1)
    ranks = rows.argsort(1).argsort(1).double() / max(1, rows.shape[1] - 1)
    return (density - epsilon + 2 * epsilon * ranks).reshape(change.shape)
