"""Bodies of random networks: images through steps drawn from a seed."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from random_sequences import PARAMETRIZED, WIDTHS, any_norm
from torch import Tensor, nn


class Pictures(nn.Module):
    """(batch, 3, height, width) to (batch, positions, 12), through blocks of convolutions."""

    out = 12

    def __init__(self, seed: int, several: bool) -> None:
        super().__init__()
        self.draw, self.several, self.names = random.Random(seed), several, []
        width = self.draw.choice(WIDTHS)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList()
        kinds = [name for name in dir(self) if name.startswith("block_")]
        for _ in range(2 + self.draw.randrange(4)):
            name = self.draw.choice(kinds)
            block, width = getattr(self, name)(width)
            self.blocks.append(block)
            self.names.append(name[6:])
        self.shared = nn.BatchNorm2d(width) if self.draw.random() < 0.25 else None
        self.last = nn.Conv2d(width, self.out, 1)

    def shape(self, other: bool) -> tuple[int, ...]:
        """Of one example."""
        return (3, 6, 8) if other else (3, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.stem(x))
        for block in self.blocks:
            y = block(y)
        if self.shared is not None:
            y = F.relu(self.shared(y)) + torch.tanh(self.shared(2 * y.flip(-1)))
        return self.last(y).flatten(2).transpose(1, 2)

    def norm(self, width: int) -> nn.Module:
        """A batch norm as a rule."""
        if self.draw.random() < 0.6:
            return nn.BatchNorm2d(width)
        return any_norm(self.draw, width, nn.BatchNorm2d, nn.InstanceNorm2d)

    def layer(self, into: int, out: int, size: int = 3, groups: int = 1) -> nn.Module:
        """A convolution that keeps the size, sometimes with a parametrized weight."""
        bias = self.draw.random() < 0.5
        made: nn.Module = nn.Conv2d(into, out, size, padding=size // 2, groups=groups, bias=bias)
        return self.draw.choice(PARAMETRIZED[:4])(made) if self.draw.random() < 0.15 else made

    def activation(self, width: int) -> nn.Module:
        return self.draw.choice([nn.ReLU(), nn.SiLU(), nn.GELU(), nn.PReLU(width), nn.Hardswish()])

    def block_plain(self, width: int) -> tuple[nn.Module, int]:
        out = self.draw.choice(WIDTHS)
        parts = [
            self.layer(width, out, self.draw.choice((1, 3))),
            self.norm(out),
            self.activation(out),
        ]
        return nn.Sequential(*parts[: self.draw.choice((2, 3, 3))]), out

    def block_before(self, width: int) -> tuple[nn.Module, int]:
        out = self.draw.choice(WIDTHS)
        return nn.Sequential(self.norm(width), self.activation(width), self.layer(width, out)), out

    def block_residual(self, width: int) -> tuple[nn.Module, int]:
        hidden = self.draw.choice(WIDTHS)
        inside = [
            self.layer(width, hidden),
            self.norm(hidden),
            nn.ReLU(),
            self.layer(hidden, width),
            self.norm(width),
        ]
        return Around(nn.Sequential(*inside)), width

    def block_inverted(self, width: int) -> tuple[nn.Module, int]:
        wide = 2 * width
        inside = [
            self.layer(width, wide, 1),
            self.norm(wide),
            nn.ReLU6(),
            self.layer(wide, wide, 3, wide),
            self.norm(wide),
        ]
        return Around(nn.Sequential(*inside, nn.ReLU6(), self.layer(wide, width, 1))), width

    def block_grouped(self, width: int) -> tuple[nn.Module, int]:
        return (
            nn.Sequential(
                self.layer(width, 2 * width, 3, 2),
                self.norm(2 * width),
                nn.ReLU(),
                nn.Conv2d(2 * width, width, 1),
            ),
            width,
        )

    def block_gated(self, width: int) -> tuple[nn.Module, int]:
        return Squeezed(width, self.draw.choice((2, 4))), width

    def block_down_and_up(self, width: int) -> tuple[nn.Module, int]:
        return Skipped(width, self.draw.choice(WIDTHS), self.draw.random() < 0.5), 2 * width

    def block_twice(self, width: int) -> tuple[nn.Module, int]:
        return Again(nn.Sequential(self.layer(width, width), self.norm(width), nn.Tanh())), width


class Around(nn.Module):
    """A skip connection around what it holds."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.inside(x))


class Again(nn.Module):
    """A block that runs twice, so that its layers and norms are shared by two places."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x + self.inside(x))


class Squeezed(nn.Module):
    """Channels gated by what the whole picture shows."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class Skipped(nn.Module):
    """Half the size and back, beside the picture as it was."""

    def __init__(self, width: int, hidden: int, learned: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(width, hidden, 3, padding=1)
        self.up = (
            nn.ConvTranspose2d(hidden, width, 2, stride=2)
            if learned
            else nn.Conv2d(hidden, width, 1)
        )
        self.learned = learned

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.down(F.max_pool2d(x, 2)))
        y = self.up(y) if self.learned else F.interpolate(self.up(y), size=x.shape[-2:])
        return torch.cat([x, y], 1)
