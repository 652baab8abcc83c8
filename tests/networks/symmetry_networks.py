"""Networks that the tests of symmetries share: small, but with every structure that matters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 16),
        nn.ReLU(),
        nn.Linear(16, 24),
        nn.GELU(),
        nn.Linear(24, 12),
        nn.Tanh(),
        nn.Linear(12, 5),
    )


class FlatCNN(nn.Module):
    """Convolutions, one of them grouped, a flatten with space in it, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, 3, groups=2)
        self.fc1 = nn.Linear(8 * 16, 20)
        self.fc2 = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class UNet(nn.Module):
    """Two levels with group norm, transposed convolutions and skip connections that are
    concatenated.
    """

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.GroupNorm(4, outputs),
                nn.ReLU(inplace=True),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.GroupNorm(4, outputs),
                nn.SiLU(),
            )

        self.down1, self.down2, self.middle = block(3, 8), block(8, 16), block(16, 32)
        self.up2, self.block2 = nn.ConvTranspose2d(32, 16, 2, 2), block(32, 16)
        self.up1, self.block1 = nn.ConvTranspose2d(16, 8, 2, 2), block(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.middle(F.max_pool2d(b, 2))
        x = self.block2(torch.cat([self.up2(x), b], 1))
        return self.head(
            self.block1(torch.cat([F.interpolate(self.up1(x), scale_factor=1.0), a], 1))
        )


class InvertedResidual(nn.Module):
    """A linear bottleneck: widen, depthwise convolution, narrow; added to its input where the
    shapes allow it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobile() -> nn.Module:
    """MobileNetV2 in small."""
    stem = [nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6(inplace=True)]
    blocks = [InvertedResidual(6, 8, 1), InvertedResidual(8, 8, 1), InvertedResidual(8, 10, 2)]
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(10, 5)
    )


class Dense(nn.Module):
    """DenseNet in small: every layer reads all before it, concatenated, through a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * k) for k in range(3))
        self.convs = nn.ModuleList(
            nn.Conv2d(8 + 4 * k, 4, 3, padding=1, bias=False) for k in range(3)
        )
        self.norm = nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            found.append(conv(F.relu(norm(torch.cat(found, 1)))))
        return self.head(F.relu(self.norm(torch.cat(found, 1))).mean((2, 3)))


class PaddedShortcut(nn.Module):
    """A residual block whose shortcut is widened with zero channels (He et al. 2016, A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 4)))
        return self.head(x.mean((2, 3)))


class StackedGates(nn.Module):
    """One fused weight viewed as three stacked parts, which are unbound: the view's split is known
    only at the unbind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Linear(5, 3 * 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.fused(x).view(-1, 3, 8).unbind(1)
        return self.out(a * torch.sigmoid(b) + c)


class StackedBranches(nn.Module):
    """Two branches stacked on a new axis, then one weight for both: the branches must move
    together.

    The third is read on its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(5, 6) for _ in range(4))
        self.shared, self.own = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
        apart = torch.stack([torch.relu(self.c(x)), torch.relu(self.d(x))], 1)
        return self.shared(both).sum(1) + self.own(apart[:, 0]) * apart[:, 1].sum(1, keepdim=True)


class InPlace(nn.Module):
    """Writes into slices of a tensor of zeros, and adds in place to a view."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(5, 4), nn.Linear(5, 4)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.zeros(x.shape[0], 10, dtype=x.dtype, device=x.device)
        both[:, :6] = self.a(x)
        both[:, 6:] = self.b(x)
        both[:, 6:].add_(self.c(x))
        return self.out(both.relu_())


class TwoOutputs(nn.Module):
    """Two heads on one trunk, returned as a dict; a tied pair of layers; a parameter that is never
    used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(6, 8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.heads = nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 2)])
        self.unused = nn.Parameter(torch.randn(7, 7))

    def forward(self, x: Tensor, scale: Tensor | None = None) -> dict[str, Tensor]:
        x = torch.relu(self.trunk(x))
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return {"a": self.heads[0](x), "b": self.heads[1](x)}


class Keeps(nn.Module):
    """Attention with a bias for each head that is computed from a weight once in eval mode, and
    kept as long as training mode is off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fused, self.out, self.head = nn.Linear(6, 36), nn.Linear(12, 8), nn.Linear(8, 2)
        self.table = nn.Parameter(torch.randn(3, 9))
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Keeps:
        self.kept = {}
        return super().train(mode)

    def bias(self, length: int) -> Tensor:
        places = torch.arange(length)
        return self.table[:, places[:, None] - places + length - 1]

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        if not self.training and "bias" not in self.kept:
            self.kept["bias"] = self.bias(length)
        bias = self.bias(length) if self.training else self.kept["bias"]
        q, k, v = self.fused(x).view(batch, length, 3, 3, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.head(torch.relu(self.out(y.transpose(1, 2).flatten(2))))
