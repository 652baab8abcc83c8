"""Train one small classifier: SGD with Nesterov momentum under a one-cycle learning rate (Smith &
Topin 2017, arXiv 1708.07120).
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
    """Train `model` in place on labelled batches for `epochs` passes, with a progress bar; it is in
    eval mode afterwards.

    Everything random comes from the network's initialisation and from the order in which `data`
    shuffles itself.
    """
    steps = epochs * len(data)
    optimiser = optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    model.train()
    for inputs, labels in track(
        (batch for _ in range(epochs) for batch in data), f"Training {name}", total=steps
    ):
        loss = functional.cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    model.eval()
