"""A subspace on handwritten digits: a simplex of networks from one training run, beside plain
networks trained for as many epochs.

    python examples/subspace.py

Needs scikit-learn (pip install "onefold[demo]"), takes less than a minute on one core.
"""

from __future__ import annotations

import torch
from torch import nn, optim
from torch.nn import functional

import onefold
from onefold.progress import track
from onefold.sources import ImageBatches, build_data, build_model

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def train(model: nn.Module, data: ImageBatches, epochs: int, name: str) -> None:
    """One loop for both: a subspace is trained like a network, but for its penalty."""
    optimiser = optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    steps = epochs * len(data)
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    model.train()
    for x, y in track(
        (batch for _ in range(epochs) for batch in data), f"Training {name}", total=steps
    ):
        loss = functional.cross_entropy(model(x), y)
        if isinstance(model, onefold.Subspace):
            loss = loss + model.diversity_penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()


def show(name: str, model: nn.Module, test: Batches) -> None:
    scores = onefold.evaluate(model, test)
    print(f"{name:<30}{100 * scores.accuracy:8.2f}{scores.nll:9.4f}")


def main(epochs: int = 30) -> None:
    torch.set_num_threads(1)
    source = build_data("sklearn:digits")
    assert isinstance(source, ImageBatches)
    calibration: Batches = list(source)  # batch-norm statistics are computed on training images
    test: Batches = list(build_data("sklearn:digits", split="test"))

    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(build_model("digits?width=16"))
        train(
            networks[-1],
            ImageBatches(source.images, 50, shuffle=True, seed=seed),
            epochs,
            f"network {seed}",
        )
    torch.manual_seed(2)
    space = onefold.Subspace(build_model("digits?width=16"), shape="simplex", vertices=3)
    train(space, ImageBatches(source.images, 50, shuffle=True, seed=2), epochs, "simplex")

    print("                          accuracy (%)     NLL")
    show("plain network", networks[0], test)
    show("midpoint", space.midpoint(calibration), test)
    for k in range(3):
        show(f"vertex {k}", space.vertex(k, calibration), test)
    show("ensemble of 3 points", space.ensemble(3, calibration), test)

    print("\naccuracy (%) from one end to the other")
    ends = {
        "edge between two vertices": [space.vertex(k, calibration) for k in (0, 1)],
        "line between two networks": networks,
    }
    for name, (a, b) in ends.items():
        path = onefold.barrier(
            a, b, test, points=7, recalibrate="batchnorm", calibration_data=calibration
        )
        print(
            f"{name:<26}"
            + "".join(f"{100 * scores.accuracy:8.2f}" for scores in path.scores)
            + f"   barrier {path.barrier:.3f}"
        )


if __name__ == "__main__":
    main()
