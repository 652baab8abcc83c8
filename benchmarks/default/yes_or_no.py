"""Do shares of yes tell that networks of one logit know different things?

    python benchmarks/default/yes_or_no.py --out benchmarks/results/default/yes_or_no.json

Two networks say of handwritten digits (scikit-learn) whether they are odd. They are trained on

    same      the same 900 images, from two initialisations
    sites     a half of these each
    rates     images of which 80 % and 20 % are odd
    digits    the digits 0 to 4, and 5 to 9
    mixed     0, 1, 4, 5, 8, 9, and 2, 3, 6, 7: in both a half is odd

On 300 unlabelled images: by how much their mean probabilities of yes differ, and on what share of
the images they agree. On 597 others: the accuracy of the better network and of the network that
least squares fold, which is aimed at their ensemble, and the paired difference of the two. Nothing
is chosen by these images, but the better network is, which is a little too good for that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from onefold.comparison import gather
from onefold.inference import ANY
from onefold.measure.paired import difference
from onefold.tasks import Binary

DRAWS, STEPS, BATCH, RATE = 3, 600, 64, 3e-3
TRAINED, UNLABELLED = 900, 300
FEW, MANY = 100, 400  # images of one kind in the group "rates"


class Network(nn.Module):
    """A perceptron with one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 32)
        self.last = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(F.relu(self.second(F.relu(self.first(x)))))
        return logits


def digits() -> tuple[Tensor, Tensor]:
    """Images (1797, 64) in 0..1 and digits (1797,), shuffled."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(images / 16).float()[order], torch.from_numpy(labels)[order]


def groups(labels: Tensor, seed: int) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Name -> the numbers of the images that either network is trained on."""
    order = torch.randperm(TRAINED, generator=torch.Generator().manual_seed(seed))
    odd, even = order[labels[order] % 2 == 1], order[labels[order] % 2 == 0]
    low, mixed = labels[order] < 5, labels[order] % 4 < 2
    yield "same", (order, order)
    yield "sites", (order[: TRAINED // 2], order[TRAINED // 2 :])
    yield "rates", (torch.cat([odd[:MANY], even[:FEW]]), torch.cat([odd[:FEW], even[:MANY]]))
    yield "digits", (order[low], order[~low])
    yield "mixed", (order[mixed], order[~mixed])


def trained(images: Tensor, yes: Tensor, seed: int) -> Network:
    """A network trained on images with labels 0 and 1."""
    torch.manual_seed(seed)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,))
        logits = network(images[chosen])[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, yes[chosen].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def measured(networks: list[nn.Module], images: Tensor, yes: Tensor) -> dict[str, Any]:
    """What is told without labels, and what a fold gains."""
    unlabelled = [images[TRAINED : TRAINED + UNLABELLED]]
    test = [(images[TRAINED + UNLABELLED :], yes[TRAINED + UNLABELLED :])]
    found = gather(networks, unlabelled, ANY, task=Binary())
    agreement = found.knowledge.agreement
    assert agreement is not None
    fold = onefold.LeastSquares()
    folded = onefold.merge(
        networks, unlabelled, align="permutation", fold=fold, task="binary"
    ).model
    scores = [onefold.evaluate(own, test, task="binary") for own in (*networks, folded)]
    best = max(scores[:-1], key=lambda own: own.rank)
    gap = difference(scores[-1], best)
    return {
        "shares of yes apart": found.knowledge.apart_in_yes,
        "agreement": float(agreement[0, 1]),
        "better network": best.primary,
        "least squares": scores[-1].primary,
        "gain": gap.gain,
        "standard error": gap.error,
    }


def main() -> None:
    """Measure every group, three draws each, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    images, labels = digits()
    yes, rows = labels % 2, []
    for draw in range(DRAWS):
        for name, parts in groups(labels, draw):
            networks: list[nn.Module] = [
                trained(images[part], yes[part], 10 * draw + k) for k, part in enumerate(parts)
            ]
            rows.append({"group": name, "draw": draw, **measured(networks, images, yes)})
            print(json.dumps(rows[-1]))
    out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
