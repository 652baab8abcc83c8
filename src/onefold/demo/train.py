"""Train one small classifier.

The optimiser is SGD with Nesterov momentum under a one-cycle learning rate (Smith & Topin 2017,
arXiv 1708.07120).
"""

from __future__ import annotations

from torch import nn, optim
from torch.nn import functional

from onefold.progress import track
from onefold.sources import ImageBatches


def train(
    model: nn.Module,
    data: ImageBatches,
    *,
    epochs: int,
    lr: float = 0.1,
    weight_decay: float = 1e-3,
    name: str = "network",
) -> None:
    """Train `model` in place, with a progress bar. It is in eval mode afterwards.

    Everything random comes from the network's first weights and from the order in which `data`
    shuffles itself.

    Args:
        model: the network, which returns logits.
        data: labelled batches.
        epochs: passes over the data.
        lr: the largest learning rate.
        weight_decay: of all parameters.
        name: of the network, in the progress bar.
    """
    steps = epochs * len(data)
    optimizer = optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    model.train()
    passes = (batch for _ in range(epochs) for batch in data)
    for inputs, labels in track(passes, f"Training {name}", total=steps):
        loss = functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    model.eval()
