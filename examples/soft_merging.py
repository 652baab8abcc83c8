"""Soft merging on handwritten digits: five members that each lack two classes, one of them
poisoned, folded by learned gates.

    python examples/soft_merging.py

Needs scikit-learn (pip install "onefold[demo]"), takes less than a minute on one core.
"""

from __future__ import annotations

import torch
from torch import nn

import onefold
from onefold.demo.train import train
from onefold.sources import ImageBatches, build_data, build_model
from onefold.sources.loader import Images

LABELLED = 300  # images to learn gates from, which no member was trained on


def member(images: Images, without: tuple[int, int], seed: int) -> nn.Module:
    """A small network that never saw the two classes."""
    seen = (images.labels != without[0]) & (images.labels != without[1])
    torch.manual_seed(seed)
    model = build_model("digits?width=16")
    own = Images(images.inputs[seen], images.labels[seen], classes=10)
    train(model, ImageBatches(own, 50, shuffle=True, seed=seed), epochs=15, name=f"member {seed}")
    return model


def main() -> None:
    torch.set_num_threads(1)
    training = build_data("sklearn:digits", skip=LABELLED)
    assert isinstance(training, ImageBatches)
    labelled = list(build_data("sklearn:digits", limit=LABELLED, batch_size=100))
    test = list(build_data("sklearn:digits", split="test"))

    members = [member(training.images, (2 * k, 2 * k + 1), seed=k) for k in range(5)]
    poisoned = build_model("digits?width=16").eval()
    poisoned.load_state_dict(
        {
            k: 1e6 * torch.randn_like(v) if v.is_floating_point() else v
            for k, v in poisoned.state_dict().items()
        }
    )
    networks = [*members, poisoned]

    print("network                          accuracy (%)")
    for k, model in enumerate(networks):
        print(
            f"member {k}{', poisoned' if k == 5 else '':<22}   "
            f" {100 * onefold.evaluate(model, test).accuracy:6.2f}"
        )
    print(
        f"ensemble of all                  {100 * onefold.evaluate(networks, test).accuracy:6.2f}"
    )
    average = onefold.merge(networks, align="none", fold="average", repair="none").model
    print(f"plain average of all             {100 * onefold.evaluate(average, test).accuracy:6.2f}")
    for level in ("model", "layer"):
        soft = onefold.SoftMerge(networks, level)
        result = onefold.fit_gates(soft, labelled)
        accuracy = 100 * onefold.evaluate(result.model, test).accuracy
        kind = (
            "one plain network"
            if level == "layer"
            else f"{int((result.gates.values != 0).sum())} networks"
        )
        print(
            f"soft merging, {level} level{' ' * (8 - len(level))}   {accuracy:6.2f}   {kind},"
            f" {result.choice}"
        )
    print()
    print(result)


if __name__ == "__main__":
    main()
