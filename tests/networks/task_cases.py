"""One tiny network and data of every task, trained for a moment."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.batches import Batch
from onefold.inference import ANY
from onefold.tasks import tasks

Batches = list[tuple[Tensor, Tensor]]


class Perceptron(nn.Module):
    """Six numbers in, some out."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 16)
        self.second = nn.Linear(16, 12)
        self.head = nn.Linear(12, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.hidden(x)))))


class Pixels(nn.Module):
    """A class of three for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv2(F.relu(self.conv1(x)))))


class Tokens(nn.Module):
    """Some numbers for every token."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(self.embedding(ids))))


@dataclass(frozen=True)
class Case:
    """A task with a network and data.

    Attributes:
        task: its name.
        build: makes the network.
        labels: of inputs, from a generator of noise.
        score: the name of the score that decides.
    """

    task: str
    build: Callable[[], nn.Module]
    labels: Callable[[Tensor, torch.Generator], Tensor]
    score: str

    def data(self, count: int = 256, seed: int = 0, size: int = 64) -> Batches:
        """Batches of labelled examples."""
        generator = torch.Generator().manual_seed(seed)
        inputs = self.inputs(count, generator)
        labels = self.labels(inputs, generator)
        return list(zip(inputs.split(size), labels.split(size), strict=True))

    def inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Numbers, pictures or tokens."""
        if self.task == "segmentation":
            return torch.randn(count, 1, 8, 8, generator=generator)
        if self.task in ("token_classification", "language_modeling"):
            if self.task == "language_modeling":
                return _texts(count, generator)
            return torch.randint(12, (count, 7), generator=generator)
        return torch.randn(count, 6, generator=generator)

    def network(self, seed: int, steps: int = 150) -> nn.Module:
        """A network trained from `seed`."""
        torch.manual_seed(seed)
        network, task = self.build(), tasks.get(self.task)()
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        reader, data = task.reader(ANY, "training"), self.data(512, 100 + seed)
        for step in range(steps):
            x, y = data[step % len(data)]
            rows = reader.rows(network(x), Batch((x,), {}, y))
            loss = task.losses(rows.values, rows.targets).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return network.eval()


def _texts(count: int, generator: torch.Generator) -> Tensor:
    """Series of tokens (count, 7), of which each mostly tells the next."""
    ids = [torch.randint(12, (count,), generator=generator)]
    for _ in range(6):
        other = torch.randint(12, (count,), generator=generator)
        odd = torch.rand(count, generator=generator) < 0.2
        ids.append(torch.where(odd, other, (5 * ids[-1] + 1) % 12))
    return torch.stack(ids, 1)


def _numbers(x: Tensor, generator: torch.Generator) -> Tensor:
    exact = torch.stack([x[:, 0] * x[:, 1] + x[:, 2], x[:, 3].abs() - x[:, 4]], 1)
    return exact + 0.3 * torch.randn(exact.shape, generator=generator)


def _yes(x: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 3) of 0 and 1."""
    exact = torch.stack([x[:, 0] + x[:, 1], x[:, 2].abs() - 0.7, x[:, 3] - x[:, 4]], 1)
    return (exact + 0.4 * torch.randn(exact.shape, generator=generator) > 0).long()


def _pixels(x: Tensor, generator: torch.Generator) -> Tensor:
    smooth = F.avg_pool2d(x, 3, 1, 1)[:, 0]
    smooth = smooth + 0.05 * torch.randn(smooth.shape, generator=generator)
    return torch.bucketize(smooth, torch.tensor([-0.15, 0.15]))


def _kinds(ids: Tensor, generator: torch.Generator) -> Tensor:
    odd = torch.rand(ids.shape, generator=generator) < 0.1
    labels = torch.where(odd, torch.randint(3, ids.shape, generator=generator), ids % 3)
    labels[:, -1] = torch.where(ids[:, -1] > 5, -100, labels[:, -1])  # as padding
    return labels


def _classes(x: Tensor, generator: torch.Generator) -> Tensor:
    return (x[:, :3] + 0.3 * torch.randn(len(x), 3, generator=generator)).argmax(1)


CASES = {
    case.task: case
    for case in (
        Case("classification", lambda: Perceptron(3), _classes, "accuracy"),
        Case("regression", lambda: Perceptron(2), _numbers, "rmse"),
        Case("binary", lambda: Perceptron(1), lambda x, g: _yes(x, g)[:, 0], "accuracy"),
        Case("multilabel", lambda: Perceptron(3), _yes, "mean_average_precision"),
        Case("segmentation", Pixels, _pixels, "mean_iou"),
        Case("token_classification", lambda: Tokens(3), _kinds, "accuracy"),
        Case("language_modeling", lambda: Tokens(12), lambda x, g: x.clone(), "perplexity"),
    )
}


@functools.cache
def _members(task: str, count: int) -> tuple[nn.Module, ...]:
    return tuple(CASES[task].network(seed) for seed in range(count))


def task_members(task: str, count: int = 2) -> list[nn.Module]:
    """Networks of a task from different seeds; shared by all tests, so leave them as they are."""
    return list(_members(task, count))
