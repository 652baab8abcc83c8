"""Small networks that tests share: trained for a moment on separable data, so that their features
mean something.
"""

from __future__ import annotations

import copy
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Convolutions and a linear layer without any norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.hidden = nn.Linear(8 * 16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.head(F.relu(self.hidden(x.flatten(1))))


class Residual(nn.Module):
    """A residual block with batch norm: one group in the stream, one in the branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 5, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm0(self.stem(x)))
        x = F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        return self.head(x.mean((2, 3)))


def examples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes of noisy 8x8 pictures: which quarter is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = 0.7 * torch.randn(count, 1, 8, 8, generator=generator)
    quarters = torch.eye(4).view(4, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return images + quarters[labels], labels


def loader(count: int = 256, seed: int = 0, batch: int = 64) -> list[tuple[Tensor, Tensor]]:
    """The examples as a list of (images, labels) batches."""
    images, labels = examples(count, seed)
    return list(zip(images.split(batch), labels.split(batch), strict=True))


def trained(kind: type[nn.Module], seed: int, steps: int = 60) -> nn.Module:
    """A network of this class trained from `seed`, in evaluation mode: one of the caller's own."""
    torch.manual_seed(seed)
    network = kind()
    network.load_state_dict(_trained_state(kind, seed, steps))
    return network.eval()


@functools.cache
def _trained_state(kind: type[nn.Module], seed: int, steps: int) -> dict[str, Tensor]:
    """What training makes of a network's tensors; each is trained once in a process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    images, labels = examples(512, 100 + seed)
    for step in range(steps):
        index = torch.arange(64) + 64 * (step % 8)
        loss = F.cross_entropy(network(images[index]), labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return copy.deepcopy(network.state_dict())


def members(kind: type[nn.Module], count: int = 3) -> list[nn.Module]:
    """`count` networks from different seeds."""
    return [trained(kind, seed) for seed in range(count)]


def random_pair(kind: type[nn.Module]) -> tuple[list[nn.Module], list[Tensor]]:
    """Two networks with random weights, and three random batches for them."""
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(kind().eval())
    shape = {Plain: (1, 8, 8), Residual: (1, 8, 8), TwoHeads: (5,)}.get(kind, (6, 5))
    return networks, [
        torch.randn(64, *shape, generator=torch.Generator().manual_seed(k)) for k in range(3)
    ]


class TwoHeads(nn.Module):
    """A network of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.trunk(x))
        return self.first(x), self.second(x)


def logits(network: nn.Module) -> Tensor:
    """Outputs of the network for the first batch of the loader."""
    with torch.no_grad():
        return network(loader()[0][0].to(next(network.parameters()).dtype))


def group_normed(seed: int) -> nn.Module:
    """A network in eval mode with one group of features that takes no matrix, and one that does."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.GroupNorm(1, 8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(216, 3),
    ).eval()
