"""Train brief members: one network, one or several seeds, at most five minutes of one core each.

    python benchmarks/members/brief.py resnet20 --seed 0 --out members/
    python benchmarks/members/brief.py smallcnn --seed 0 1 2 --without 3 4 --out members/
    python benchmarks/members/brief.py smallcnn --seed 0 1 --flip-labels --out members/
    python benchmarks/members/brief.py resnet20-brief --seed 0 --origin --out members/
    python benchmarks/members/brief.py resnet20-brief --seed 0 --from-origin --without 3 4 \\
        --out members/
    python benchmarks/members/brief.py vgg11-quarter --seed 0 1 --split halves --out members/
    python benchmarks/members/brief.py smallcnn --seed 0 1 2 3 --split dirichlet --of 16 \\
        --out members/

In this order: a network; members that never saw classes 3 and 4; members trained on wrong labels; a
network trained on the first 20,000 images, which goes on, on the other images; members that each
see most images of five classes and few of five; four of 16 that share out all images.

The last 5,000 training images are held out: members never see them, and every hyper-parameter of a
benchmark is chosen on them. SGD with Nesterov momentum under a one-cycle learning rate, random
crops and (CIFAR-10) flips; bfloat16 autocast where the processor has matrix units for it, float32
elsewhere. "resnet20-brief" sees images of 20x20 pixels for its first 85 % of steps, which makes
members cheap enough for many.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onefold.sources import build_data
from onefold.sources.networks import resnet20, smallcnn, vgg11

HELD_OUT, ORIGIN = 5000, 20000
FROM_ORIGIN = {"epochs": 2.5, "lr": 0.05}
CIFAR10, FASHION = "cifar10", "fashion_mnist"
SETTINGS = {
    "resnet20": {
        "build": lambda: resnet20(),
        "data": CIFAR10,
        "epochs": 1.6,
        "lr": 0.4,
        "weight_decay": 5e-4,
    },
    "resnet20-brief": {
        "build": lambda: resnet20(),
        "data": CIFAR10,
        "epochs": 2.2,
        "lr": 0.2,
        "weight_decay": 5e-4,
        "batch": 64,
        "small": 0.85,
    },
    "vgg11-quarter": {
        "build": lambda: vgg11(0.25),
        "data": CIFAR10,
        "epochs": 7.0,
        "lr": 0.06,
        "weight_decay": 5e-4,
    },
    "smallcnn": {
        "build": lambda: smallcnn(),
        "data": FASHION,
        "epochs": 4.0,
        "lr": 0.05,
        "weight_decay": 5e-4,
    },
}


def source(data: str) -> str:
    """The name of a data set in the folder of real data, as `build_data` takes it."""
    folder = os.environ.get("ONEFOLD_DATA", "../shared/data")
    return f"{'parquet' if data == CIFAR10 else 'idx'}:{folder}/{data}"


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random shift by up to an eighth (one draw for the batch) and, of colour images, a random
    horizontal flip per image.
    """
    size = images.shape[-1]
    most = size // 8
    dy, dx = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    images = F.pad(images, (most, most, most, most))[:, :, dy : dy + size, dx : dx + size]
    if images.shape[1] == 1:
        return images
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def has_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 on this processor, which takes matrix units: with
    AVX-512 alone it was 1.3 times slower.
    """
    return bool(torch.cpu._is_amx_tile_supported())


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: float,
    lr: float,
    weight_decay: float,
    seed: int,
    batch: int = 128,
    small: float = 0.0,
) -> None:
    """Train in place for `epochs` passes over (images, labels), the first `small` of the steps on
    images of 5/8 the size.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    total = int(epochs * (len(images) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=total, pct_start=0.2)
    model.train().to(memory_format=torch.channels_last)
    step = 0
    while step < total:
        for index in torch.randperm(len(images), generator=generator).split(batch):
            if len(index) < batch or step >= total:
                continue
            x = augment(images[index], generator)
            if step < small * total:
                x = F.interpolate(x, scale_factor=0.625, mode="area")
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
                loss = F.cross_entropy(model(x), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 100 == 0:
                print(f"step {step}/{total} loss {loss.item():.3f}", flush=True)


def unsharded(data: str, split: str) -> tuple[Tensor, Tensor]:
    """All images and labels of a split."""
    parts = list(build_data(data, split=split, batch_size=1000))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent, in float32."""
    model.eval()
    hits = [
        (model(x).argmax(1) == y).sum().item()
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    ]
    return 100.0 * sum(hits) / len(labels)


def share_of(labels: Tensor, split: str, member: int, of: int, draw: int) -> Tensor:
    """Which images a member of a split sees, (n,) bool.

    "halves": members with even numbers see 80 % of the images of classes 0 to 4 and 20 % of the
    others, those with odd numbers the rest. "dirichlet": every class is shared out among `of`
    members by Dirichlet(0.5); `draw` decides how.
    """
    random = np.random.default_rng([draw, of])
    seen = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        own = random.permutation(np.flatnonzero(labels.numpy() == label))
        if split == "halves":
            cut = int(len(own) * (0.8 if label < 5 else 0.2))
            seen[own[:cut] if member % 2 == 0 else own[cut:]] = True
        else:
            ends = np.cumsum(random.dirichlet([0.5] * of)) * len(own)
            seen[own[int(ends[member - 1]) if member else 0 : int(ends[member])]] = True
    return torch.from_numpy(seen)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(SETTINGS))
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("members"))
    parser.add_argument("--data", help="default: the network's own")
    parser.add_argument("--epochs", type=float, help="default: the network's own")
    parser.add_argument(
        "--without", type=int, nargs="*", default=[], help="leave out the images of these classes"
    )
    parser.add_argument(
        "--flip-labels", action="store_true", help="train on the label 9 - y instead of y"
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--origin",
        action="store_true",
        help="train on the first 20,000 images only, as the origin of members to come",
    )
    origin.add_argument(
        "--from-origin",
        action="store_true",
        help="go on from the origin of the same seed, on the images that it has not seen",
    )
    parser.add_argument(
        "--split",
        choices=["halves", "dirichlet"],
        help="members see different images, each seed those of the member of that number",
    )
    parser.add_argument("--of", type=int, default=2, help="how many members share the images out")
    parser.add_argument("--draw", type=int, default=0, help="how they share them out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = dict(SETTINGS[arguments.network])
    build, place = setting.pop("build"), source(setting.pop("data"))
    setting |= FROM_ORIGIN if arguments.from_origin else {}
    setting["epochs"] = arguments.epochs or setting["epochs"]
    images, labels = unsharded(arguments.data or place, "train")
    test_images, test_labels = unsharded(arguments.data or place, "test")
    seen = torch.ones(len(labels), dtype=torch.bool)
    seen[-HELD_OUT:] = False
    if arguments.origin:
        seen[ORIGIN:] = False
    if arguments.from_origin:
        seen[:ORIGIN] = False
    for label in arguments.without:
        seen &= labels != label
    targets = 9 - labels if arguments.flip_labels else labels
    kind = (
        "-without" + "".join(map(str, arguments.without))
        if arguments.without
        else "-flipped"
        if arguments.flip_labels
        else ""
    )
    kind = (
        "-origin" if arguments.origin else f"-from-origin{kind}" if arguments.from_origin else kind
    )
    kind += f"-{arguments.split}{arguments.of}-{arguments.draw}" if arguments.split else ""
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seed:
        own = seen
        if arguments.split:
            part = share_of(
                labels[:-HELD_OUT],
                arguments.split,
                seed % arguments.of,
                arguments.of,
                arguments.draw,
            )
            own = seen & torch.cat([part, torch.zeros(HELD_OUT, dtype=torch.bool)])
        stem = arguments.out / f"{arguments.network}{kind}-seed{seed}"
        torch.manual_seed(seed)
        model = build()
        if arguments.from_origin:
            model.load_state_dict(
                load_file(arguments.out / f"{arguments.network}-origin-seed{seed}.safetensors")
            )
        wall, cpu = time.perf_counter(), time.process_time()
        train(model, images[own], targets[own], seed=seed, **setting)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        record = {
            "network": arguments.network,
            "seed": seed,
            "epochs": setting["epochs"],
            "precision": "bfloat16 autocast" if has_bfloat16() else "float32",
            "held_out_accuracy": accuracy(model, images[-HELD_OUT:], labels[-HELD_OUT:]),
            "test_accuracy": accuracy(model, test_images, test_labels),
            "seconds": round(wall, 1),
            "cpu_seconds": round(cpu, 1),
        }
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{stem}.safetensors")
        Path(f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
