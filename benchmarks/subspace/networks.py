"""ResNet-18 for small images: He et al. 2016 (arXiv 1512.03385), with a 3x3 convolution in front,
11.2 million parameters.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from onefold.sources.networks import BasicBlock


class ResNet18(nn.Module):
    """(n, 3, h, w) images to (n, classes) logits."""

    def __init__(self, classes: int = 200) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        blocks, inputs = [], 64
        for stage, outputs in enumerate((64, 128, 256, 512)):
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class ThreeConv(nn.Module):
    """Three convolutions with batch norm and a linear layer on their mean, 24,000 parameters: (n,
    1, 28, 28) images to (n, 10) logits.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.features(x).mean((2, 3)))
        return logits
