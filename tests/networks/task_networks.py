"""A tiny network, labelled batches and their task for every task that the registry holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
N, WIDTH, TOKENS = 24, 8, 11


class Table(nn.Module):
    """Numbers (n, 5) to numbers (n, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(5, WIDTH), nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(x)))


class Images(nn.Module):
    """Images (n, 2, 6, 6) to logits (n, 3, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm = nn.Conv2d(2, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.last = nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.hidden(x))))


class Series(nn.Module):
    """Tokens (n, t) to logits (n, t, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.hidden, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(self.embedding(x))))


@dataclass(frozen=True)
class Example:
    """What a task is tried on.

    Attributes:
        make: a new network.
        inputs: those of one batch.
        labels: from the outputs of a teacher.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    labels: Callable[[Tensor, Tensor], Tensor]

    def batches(self, seed: int, count: int = 5) -> list[Batch]:
        """Labelled batches whose labels follow a teacher."""
        torch.manual_seed(1000)
        teacher = self.make().eval()
        torch.manual_seed(seed)
        found = []
        with torch.no_grad():
            for _ in range(count):
                x = self.inputs()
                found.append((x, self.labels(teacher(x), x)))
        return found


def _padded(y: Tensor, _: Tensor) -> Tensor:
    labels = y.argmax(-1)
    labels[:, -1] = -100
    return labels


def _table() -> Tensor:
    return torch.randn(N, 5)


def _tokens() -> Tensor:
    return torch.randint(TOKENS, (N, 7))


EXAMPLES: dict[str, Example] = {
    "classification": Example(lambda: Table(3), _table, lambda y, _: y.argmax(1)),
    "binary": Example(lambda: Table(1), _table, lambda y, _: (y[:, 0] > y.mean()).long()),
    "multilabel": Example(lambda: Table(4), _table, lambda y, _: (y > y.mean(0)).float()),
    "regression": Example(lambda: Table(2), _table, lambda y, _: y + 0.05 * torch.randn(y.shape)),
    "segmentation": Example(
        Images,
        lambda: torch.randn(N, 2, 6, 6),
        lambda y, _: (y - y.mean((0, 2, 3), True)).argmax(1),
    ),
    "token_classification": Example(lambda: Series(3), _tokens, _padded),
    "language_modeling": Example(lambda: Series(TOKENS), _tokens, lambda _, x: x.clone()),
}


def trained(task: str, seed: int, steps: int = 120) -> nn.Module:
    """A network that was trained on the task by its own loss."""
    from onefold.batches import batches
    from onefold.inference import ANY
    from onefold.tasks import tasks

    example, found = EXAMPLES[task], tasks.get(task)()
    data = example.batches(seed)
    torch.manual_seed(seed)
    network = example.make().train()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for step in range(steps):
        (batch,) = batches([data[step % len(data)]])
        rows = found.reader(ANY, "training").rows(network(*batch.args), batch)
        loss = found.losses(rows.values, rows.targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()
