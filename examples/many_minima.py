"""Four solutions by persistent rounds, aligned, folded and gated, beside four independent seeds of
the same budget, on handwritten digits.

    python examples/many_minima.py [repetitions]

They train on 200 images only, so that the solutions differ. Needs scikit-learn (pip install
"onefold[demo]"); about a minute on one core.
"""

from __future__ import annotations

import itertools
import statistics
import sys

import torch
from torch import nn
from torch.nn import functional

import onefold
from onefold.progress import track
from onefold.sources import ImageBatches, build_data, build_model

ROUNDS, EPOCHS, TRAINING, LABELLED = 4, 40, 200, 300
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def train(
    model: nn.Module, data: ImageBatches, run: onefold.PersistentTraining | None = None
) -> None:
    """One round, or one network: the loops differ by the penalty."""
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=EPOCHS * len(data))
    model.train()
    for _ in range(EPOCHS):
        for x, y in data:
            loss = functional.cross_entropy(model(x), y)
            if run is not None:
                loss = loss + run.penalty()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if run is not None:
                run.step()
    model.eval()


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_model("digits?width=16")


def by_rounds(data: ImageBatches, labelled: Batches, seed: int) -> list[nn.Module]:
    model = network(seed)
    run = onefold.PersistentTraining(model, EPOCHS * len(data), seed=seed)
    for _ in range(ROUNDS):
        train(model, data, run)
        run.record(score=onefold.evaluate(model, labelled).accuracy)
        run.restart()
    return [run.network(number) for number in range(ROUNDS)]


def by_seeds(data: ImageBatches, seed: int) -> list[nn.Module]:
    networks = [network(100 * k + seed) for k in range(ROUNDS)]
    for model in networks:
        train(model, data)
    return networks


def scores_of(
    networks: list[nn.Module], calibration: Batches, labelled: Batches, test: Batches
) -> dict[str, float]:
    """Test accuracy in percent of all that can be made of the networks, and their mean
    disagreement; the best is the best on the labelled images.
    """

    def accuracy(found: nn.Module | list[nn.Module]) -> float:
        return 100 * onefold.evaluate(found, test).accuracy

    with torch.no_grad():
        outputs = [torch.cat([model(x).argmax(-1) for x, _ in test]) for model in networks]
    pairs = list(itertools.combinations(outputs, 2))
    best = max(networks, key=lambda model: onefold.evaluate(model, labelled).accuracy)
    aligned = onefold.align(networks, calibration, method="permutation")
    return {
        "disagreement of two": (
            100 * statistics.mean(float((a != b).float().mean()) for a, b in pairs)
        ),
        "one network": statistics.mean(map(accuracy, networks)),
        "best network": accuracy(best),
        "ensemble": accuracy(networks),
        "plain average": accuracy(
            onefold.merge(networks, align="none", fold="average", repair="none").model
        ),
        "average, repaired": accuracy(
            onefold.merge(networks, calibration, align="none", fold="average").model
        ),
        "aligned and folded": accuracy(
            onefold.merge(networks, calibration, align=aligned, fold="average").model
        ),
        "gates over networks": accuracy(
            onefold.fit_gates(onefold.SoftMerge(networks, "model"), labelled, seed=0).model
        ),
        "gates over layers": accuracy(
            onefold.fit_gates(onefold.SoftMerge(networks, "layer"), labelled, seed=0).model
        ),
    }


def main(repetitions: int | str = 3) -> None:
    torch.set_num_threads(1)
    data = build_data("sklearn:digits", skip=LABELLED, limit=TRAINING)
    assert isinstance(data, ImageBatches)
    calibration: Batches = list(data)
    labelled: Batches = list(build_data("sklearn:digits", limit=LABELLED, batch_size=100))
    test: Batches = list(build_data("sklearn:digits", split="test"))
    found: dict[str, list[dict[str, float]]] = {"persistent rounds": [], "independent seeds": []}
    for seed in track(range(int(repetitions)), "Repetitions"):
        own = ImageBatches(data.images, 50, shuffle=True, seed=seed)
        for name, networks in (
            ("persistent rounds", by_rounds(own, labelled, seed)),
            ("independent seeds", by_seeds(own, seed)),
        ):
            found[name].append(scores_of(networks, calibration, labelled, test))
    print(
        f"{'mean of ' + str(repetitions) + ' repetitions, %':<34}"
        + "".join(f"{name:>20}" for name in found)
    )
    for row in found["independent seeds"][0]:
        print(
            f"{row:<34}"
            + "".join(
                f"{statistics.mean(one[row] for one in each):20.2f}" for each in found.values()
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
