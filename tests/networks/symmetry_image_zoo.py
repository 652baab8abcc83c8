"""Image networks of every common architecture, small, written out here in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Windows(nn.Module):
    """Attention in shifted windows of an image, with a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 2, 2), nn.LayerNorm(12)
        self.fused, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.table = nn.Parameter(torch.randn(9, 3))
        self.register_buffer("places", torch.randint(9, (16,)))
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        y = self.norm(x).roll((-1, -1), (1, 2)).view(batch, height // 2, 2, width // 2, 2, channels)
        y = y.transpose(2, 3).reshape(-1, 4, channels)
        q, k, v = self.fused(y).reshape(-1, 4, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.places].view(4, 4, 3).permute(2, 0, 1).unsqueeze(0)
        y = (
            F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            .transpose(1, 2)
            .reshape(-1, 4, channels)
        )
        y = (
            self.out(y)
            .view(batch, height // 2, width // 2, 2, 2, channels)
            .transpose(2, 3)
            .reshape(x.shape)
        )
        return self.head((x + y.roll((1, 1), (1, 2))).mean((1, 2)))


class Mixer(nn.Module):
    """Layers over patches and layers over channels in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)
        self.a, self.b, self.c, self.d = (
            nn.Linear(16, 10),
            nn.Linear(10, 16),
            nn.Linear(12, 24),
            nn.Linear(24, 12),
        )
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.b(F.gelu(self.a(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        return self.head((x + self.d(F.gelu(self.c(x)))).mean(1))


class UNet(nn.Module):
    """Two levels with batch norm, transposed convolutions and skip connections."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.SiLU(),
            )

        self.down1, self.down2, self.middle = block(3, 8), block(8, 12), block(12, 16)
        self.up2, self.block2 = nn.ConvTranspose2d(16, 12, 2, 2), block(24, 12)
        self.up1, self.block1 = nn.ConvTranspose2d(12, 8, 2, 2), block(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.block2(torch.cat([self.up2(self.middle(F.max_pool2d(b, 2))), b], 1))
        return self.head(self.block1(torch.cat([self.up1(x), a], 1)))


def autoencoder() -> nn.Module:
    encoder = [
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 10),
    ]
    decoder = [
        nn.Linear(10, 12 * 16),
        nn.Unflatten(1, (12, 4, 4)),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 2, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 2, 2),
    ]
    return nn.Sequential(*encoder, *decoder)


class ManyWays(nn.Module):
    """An image and a vector in, three outputs out, from features that are concatenated, stacked,
    problem and repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.image, self.vector = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 6)
        self.both, self.one = nn.Linear(14, 10), nn.Linear(8, 10)
        self.heads = nn.ModuleList([nn.Linear(10, 3), nn.Linear(10, 2), nn.Conv2d(14, 1, 1)])

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor]:
        image, vector = F.silu(self.image(image)), torch.tanh(self.vector(vector))
        space = torch.cat([image, vector[:, :, None, None].expand(-1, -1, *image.shape[-2:])], 1)
        pooled = image.amax((2, 3))
        stacked = torch.stack(
            [self.both(torch.cat([pooled, vector], 1)), self.one(pooled)], 1
        ).relu()
        return {
            "a": self.heads[0](stacked[:, 0]),
            "b": self.heads[1](stacked.mean(1)),
            "map": self.heads[2](space),
        }


class Squeeze(nn.Module):
    """Squeeze and excitation, channel shuffle between grouped convolutions, depthwise convolutions
    with a multiplier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped, self.again = (
            nn.Conv2d(3, 12, 3),
            nn.Conv2d(12, 24, 1, groups=2),
            nn.Conv2d(24, 12, 1, groups=2),
        )
        self.wide, self.norm = nn.Conv2d(12, 24, 3, groups=12), nn.BatchNorm2d(24)
        self.reduce, self.expand = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.stem(x))))
        batch, channels, height, width = x.shape
        x = (
            x.view(batch, 2, channels // 2, height, width)
            .transpose(1, 2)
            .reshape(batch, channels, height, width)
        )
        x = F.hardswish(self.norm(self.wide(self.again(x))))
        x = x * F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(x.mean((2, 3)))


class SuperResolution(nn.Module):
    """Convolutions to space by pixel shuffle, and back by pixel unshuffle; reflected borders,
    instance norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = (
            nn.Conv2d(1, 8, 3, padding=1, padding_mode="reflect"),
            nn.Conv2d(8, 24, 3, padding=1),
            nn.InstanceNorm2d(6, affine=True),
        )
        self.c, self.d = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(20, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(self.b(F.leaky_relu(self.a(x))), 2)
        x = F.softplus(self.c(self.norm(x)))
        return F.pixel_shuffle(self.d(F.pixel_unshuffle(x, 2)), 2)
