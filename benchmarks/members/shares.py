"""Which of the seen images a member is trained on.

| kind      | what member `part` of `of` sees                                                    |
|-----------|------------------------------------------------------------------------------------|
| all       | every seen image                                                                   |
| halves    | 80 % of the images of five classes, 20 % of the others; the other member: the rest |
| dirichlet | its share of each class; the shares of a class are one draw of Dirichlet(0.5)      |
| fold      | every seen image but those of fold `part` of `of` (cross-validation)               |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The share of the images that a member sees.

    kind: a row of this module's table. part: which member of `of`. draw: the seed of the draw.
    """

    kind: str = "all"
    part: int = 0
    of: int = 1
    draw: int = 0

    def indices(self, labels: Tensor) -> Tensor:
        """Positions of the images that are seen, ascending, int64; `labels` (n,) of all images."""
        count = len(labels)
        seen = np.zeros(count, dtype=bool)
        random = np.random.default_rng([self.draw, self.of])
        if self.kind == "all":
            seen[:] = True
        elif self.kind == "fold":
            seen[:] = True
            seen[np.array_split(random.permutation(count), self.of)[self.part]] = False
        else:
            for label in range(int(labels.max()) + 1):
                own = random.permutation(np.flatnonzero(labels.numpy() == label))
                first, last = self._cut(label, random)
                seen[own[round(first * len(own)) : round(last * len(own))]] = True
        return torch.from_numpy(np.flatnonzero(seen))

    def _cut(self, label: int, random: np.random.Generator) -> tuple[float, float]:
        """Where this member's share of a class begins and ends, as fractions of its images."""
        if self.kind == "halves":
            cut = 0.8 if label < 5 else 0.2
            return (0.0, cut) if self.part == 0 else (cut, 1.0)
        if self.kind == "dirichlet":
            ends = [0.0, *np.cumsum(random.dirichlet([0.5] * self.of))]
            return float(ends[self.part]), 1.0 if self.part == self.of - 1 else ends[self.part + 1]
        raise ValueError(
            f"There is no share '{self.kind}'; the kinds are in benchmarks/members/shares.py."
        )
