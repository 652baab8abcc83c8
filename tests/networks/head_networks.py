"""Networks with attention heads, and what is measured on them."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.symmetry import SymmetrySpec, apply_maps, fold_scales
from onefold.symmetry.drawing import random_map
from onefold.symmetry.maps import fibre_shape

HEADS, WIDTH = 4, 16


class Attention(nn.Module):
    """A block before whose parts the stream is normalised; queries, keys and values apart or fused;
    fewer heads of keys if `shared`.
    """

    def __init__(self, fused: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.fused, self.kv = fused, HEADS // 2 if shared else HEADS
        self.into, self.first, self.second = (
            nn.Linear(5, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
        )
        size = WIDTH // HEADS
        if fused:
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        else:
            self.q, self.k, self.v = (
                nn.Linear(WIDTH, heads * size) for heads in (HEADS, self.kv, self.kv)
            )
        self.out, self.up, self.down = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 24),
            nn.Linear(24, WIDTH),
        )
        self.last, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        y, (b, s) = self.first(x), x.shape[:2]
        size = WIDTH // HEADS
        if self.fused:
            q, k, v = self.qkv(y).view(b, s, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        else:
            q = self.q(y).view(b, s, HEADS, size).transpose(1, 2)
            k, v = (part(y).view(b, s, self.kv, size).transpose(1, 2) for part in (self.k, self.v))
        z = (
            F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            if self.kv < HEADS
            else F.scaled_dot_product_attention(q, k, v)
        )
        x = x + self.out(z.transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.second(x))))
        return self.head(self.last(x).mean(1))


class Grouped(nn.Module):
    """A grouped convolution between ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(1, 12, 3, padding=1),
            nn.Conv2d(12, 24, 3, padding=1, groups=4),
            nn.Conv2d(24, 6, 3),
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))).mean((2, 3)))


def built(network: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with scales, biases and weights large enough for attention to matter."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(
                parameter, std=(1.5 if name[0] in "qk" else 0.7) * parameter[0].numel() ** -0.5
            )
        elif "first" in name or "second" in name or "last" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=0.2)
    return network.double().eval()


def inputs(network: nn.Module) -> list[Tensor]:
    shape = (64, 1, 8, 8) if isinstance(network, Grouped) else (64, 9, 5)
    return [
        torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        for k in range(4)
    ]


def moved(
    network: nn.Module, spec: SymmetrySpec, kind_of: dict[str, str], fold: bool, seed: int = 3
) -> nn.Module:
    """The same function with every group moved by a random map, another one in each fibre, of the
    class that `kind_of` names.
    """
    generator = torch.Generator().manual_seed(seed)
    maps = {
        g.name: random_map(g.size, fibre_shape(spec, g), kind_of[g.name], generator)
        for g in spec.groups
    }
    twin = copy.deepcopy(network)
    state = fold_scales(network.state_dict(), spec) if fold else network.state_dict()
    twin.load_state_dict(apply_maps(state, spec, maps))
    return twin


def average(alignment: Alignment, networks: list[nn.Module]) -> nn.Module:
    first, second = (network.state_dict() for network in alignment.apply(networks))
    middle = copy.deepcopy(networks[0])
    middle.load_state_dict({name: (value + second[name]) / 2 for name, value in first.items()})
    return middle


def gap(a: nn.Module, b: nn.Module) -> float:
    x = inputs(a)[-1]
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / b(x).std())
