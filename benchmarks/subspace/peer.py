"""Steps of the official code (github.com/apple/learning-subspaces, fetched beside this repository),
for timing only; nothing of it is kept here.

Its networks are built of its own layers by a global `args`; the step below does what its trainers
do for one batch: set the drawn point on every layer, run, add beta cos^2 of a random pair, go back,
and let the optimiser step.
"""

from __future__ import annotations

import random
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SETTINGS = {
    "plain": {"conv_type": "StandardConv", "bn_type": "StandardBN"},
    "line": {"conv_type": "LinesConv", "bn_type": "LinesBN"},
    "simplex": {"conv_type": "SimplexConv3", "bn_type": "SimplexBN3"},
}


class Peer:
    """One network of the official code, and its step."""

    def __init__(self, folder: Path, shape: str, network: str, classes: int) -> None:
        for name in [n for n in sys.modules if n == "args" or n.split(".")[0] == "models"]:
            del sys.modules[name]
        module = ModuleType("args")
        module.args = Namespace(
            **SETTINGS[shape],
            conv_init="kaiming_normal",
            n=3,
            output_size=classes,
            model_name="cifar_resnet_20",
        )  # type: ignore[attr-defined]
        sys.modules["args"] = module
        sys.path.insert(0, str(folder))
        try:
            import models  # type: ignore[import-not-found]

            self.model: nn.Module = getattr(models, network)().train()
        finally:
            sys.path.remove(str(folder))
        self.shape, self.points = shape, {"plain": 1, "line": 2, "simplex": 3}[shape]

    def loss(self, x: Tensor, y: Tensor, beta: float = 1.0) -> Tensor:
        """The loss of one batch at a point that is drawn for it."""
        weights = np.random.exponential(size=self.points)
        weights /= weights.sum()
        alpha = np.random.uniform()
        for m in self.model.modules() if self.shape != "plain" else ():
            if isinstance(m, nn.Conv2d | nn.BatchNorm2d):
                m.alpha = alpha  # type: ignore[assignment]
                for k in range(1, self.points):
                    setattr(m, f"t{k}", weights[k])
        loss = F.cross_entropy(self.model(x), y)
        if self.shape == "plain" or beta == 0:
            return loss
        i, j = random.sample(range(self.points), 2)
        inner, norm_i, norm_j = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for m in self.model.modules():
            if isinstance(m, nn.Conv2d):
                vi, vj = (getattr(m, f"weight{k}" if k else "weight") for k in (i, j))
                inner = inner + (vi * vj).sum()
                norm_i = norm_i + vi.pow(2).sum()
                norm_j = norm_j + vj.pow(2).sum()
        return loss + beta * inner.pow(2) / (norm_i * norm_j)
