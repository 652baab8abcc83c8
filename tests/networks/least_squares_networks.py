"""Networks for least-squares folding, their data, and copies of them under known maps."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.alignment import Alignment, align
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, find_symmetries
from onefold.symmetry.maps import fibre_shape


class Mlp(nn.Module):
    """Linear layers, one without bias, and a BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 8, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.two = nn.Linear(8, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(F.relu(self.norm(self.one(x))))))


class Convolutional(nn.Module):
    """Strided, dilated, grouped, depthwise, transposed and one-dimensional convolutions, with norms
    and without, and in-place ReLUs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.grouped = nn.Conv2d(8, 12, (1, 3), padding="same", groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1)
        self.up_norm = nn.BatchNorm2d(6, affine=False)
        self.grouped_up = nn.ConvTranspose2d(6, 6, 2, groups=3, bias=False)
        self.line = nn.Conv1d(6, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = F.relu(self.grouped(F.relu(self.depthwise(x))))
        x = F.relu(self.grouped_up(F.relu(self.up_norm(self.up(x)))))
        return self.head(F.gelu(self.line(x.flatten(2))).mean(2))


class Projected(nn.Module):
    """A residual block with a projected shortcut, one with an identity, and a sum of three."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.conv1 = nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.other = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.shortcut(x))
        x = x + self.branch(x) + self.other(x)
        return self.head(F.relu(x).mean((2, 3)))


class Attention(nn.Module):
    """One pre-norm transformer block over tokens, with an embedding of positions and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.positions = nn.Parameter(torch.randn(1, 6, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, y, y, need_weights=False)[0])
        x = x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """An LSTM between linear layers, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lift = nn.Linear(6, 7)
        self.lstm = nn.LSTM(7, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(torch.tanh(self.lift(self.embed(x.transpose(0, 1)))))
        return self.head(states[-1])


def inputs_of(kind: type[nn.Module], count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind is Recurrent:
        return torch.randint(0, 11, (count, 9), generator=generator)
    shape = {Mlp: (6,), Convolutional: (2, 9, 8), Attention: (6, 5)}.get(kind, (1, 8, 8))
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def network(kind: type[nn.Module], seed: int) -> nn.Module:
    """A float64 network with statistics of batch norm that are not the initial ones."""
    torch.manual_seed(seed)
    made = kind().double().train()
    for m in made.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine:
            nn.init.uniform_(m.weight, -1.5, 1.5)
            nn.init.normal_(m.bias)
    with torch.no_grad():
        for k in range(20):
            made(inputs_of(kind, 16, 50 + k))
    return made.eval()


def batches_of(kind: type[nn.Module], count: int = 256) -> list[Tensor]:
    return list(inputs_of(kind, count).split(64))


def permuted(
    model: nn.Module, data: list[Tensor], seed: int
) -> tuple[nn.Module, SymmetrySpec, dict[str, GroupMap]]:
    """The network with every group permuted at random, which computes the same, and the maps that
    undo it.
    """
    spec = find_symmetries(model, data[0])
    generator = torch.Generator().manual_seed(seed)
    indices = {name for group in spec.groups for name in group.over}
    maps = {}
    for group in spec.groups:
        if group.name in indices or "permutation" not in group.maps:
            continue
        shape = fibre_shape(spec, group)
        flat = [torch.randperm(group.size, generator=generator) for _ in range(math.prod(shape))]
        maps[group.name] = GroupMap("permutation", torch.stack(flat).reshape(*shape, group.size))
    twin = copy.deepcopy(model)
    twin.load_state_dict(apply_maps(model.state_dict(), spec, maps))
    return twin, spec, {name: m.inverted() for name, m in maps.items()}


def known_alignment(
    spec: SymmetrySpec, maps: dict[str, GroupMap], data: list[Tensor], models: list[nn.Module]
) -> Alignment:
    """The alignment whose maps for member 1 are these."""
    import dataclasses

    found = align(models, data, method="identity", spec=spec)
    own = {
        name: (pair[0], maps.get(name, GroupMap.identity(pair[0].size)))
        for name, pair in found.maps.items()
    }
    return dataclasses.replace(found, maps=own, method="permutation")


def difference(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / b(x).abs().max())
