"""Train the members of the folding benchmark: one network, one seed, on CIFAR-10, for at most five minutes on one core.

    python benchmarks/members/train.py resnet20 --seed 0 --out members/

The last 5,000 training images are held out: members never see them, and every hyper-parameter of the folding benchmark is chosen on them.
SGD with Nesterov momentum under a one-cycle learning rate, random crops and flips, bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from onefold.sources import build_data
from onefold.sources.networks import resnet20, vgg11

HELD_OUT = 5000
SETTINGS = {
    "resnet20": {"build": lambda: resnet20(), "epochs": 1.6, "lr": 0.4, "weight_decay": 5e-4},
    "vgg11-quarter": {"build": lambda: vgg11(0.25), "epochs": 7.0, "lr": 0.06, "weight_decay": 5e-4},
}


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random shift by up to four pixels (one draw for the batch) and a random horizontal flip per image."""
    dy, dx = torch.randint(0, 9, (2,), generator=generator).tolist()
    images = F.pad(images, (4, 4, 4, 4))[:, :, dy : dy + 32, dx : dx + 32]
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def train(model: nn.Module, images: Tensor, labels: Tensor, *, epochs: float, lr: float, weight_decay: float, seed: int, batch: int = 128) -> None:
    """Train in place for `epochs` passes over (images, labels)."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    total = int(epochs * (len(images) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=total, pct_start=0.2)
    model.train().to(memory_format=torch.channels_last)
    step = 0
    while step < total:
        for index in torch.randperm(len(images), generator=generator).split(batch):
            if len(index) < batch or step >= total:
                continue
            x = augment(images[index], generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 100 == 0:
                print(f"step {step}/{total} loss {loss.item():.3f}", flush=True)


def whole(data: str, split: str) -> tuple[Tensor, Tensor]:
    """All images and labels of a split."""
    parts = list(build_data(data, split=split, batch_size=1000))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent, in float32."""
    model.eval()
    hits = [(model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return 100.0 * sum(hits) / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(SETTINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("members"))
    parser.add_argument("--data", default=f"parquet:{os.environ.get('ONEFOLD_DATA', '../shared/data')}/cifar10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    setting = dict(SETTINGS[arguments.network])
    model = setting.pop("build")()
    images, labels = whole(arguments.data, "train")
    test_images, test_labels = whole(arguments.data, "test")
    wall, cpu = time.perf_counter(), time.process_time()
    train(model, images[:-HELD_OUT], labels[:-HELD_OUT], seed=arguments.seed, **setting)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    record = {
        "network": arguments.network,
        "seed": arguments.seed,
        "held_out_accuracy": accuracy(model, images[-HELD_OUT:], labels[-HELD_OUT:]),
        "test_accuracy": accuracy(model, test_images, test_labels),
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{arguments.network}-seed{arguments.seed}"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{stem}.safetensors")
    Path(f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
