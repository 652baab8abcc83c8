"""The members that the benchmarks of folding share, their data, and a record that a stopped run
goes on with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from onefold.sources import build_data
from onefold.sources.networks import resnet20, smallcnn, vgg11

Batches = list[tuple[Tensor, Tensor]]
BUILDS: dict[str, Callable[[], nn.Module]] = {
    "vgg11-quarter": lambda: vgg11(0.25),
    "resnet20-brief": resnet20,
    "smallcnn": smallcnn,
}


@dataclass(frozen=True)
class Group:
    """Sets of members that are folded, each by the names of their files."""

    network: str
    data: str
    sets: tuple[tuple[str, ...], ...]
    images: int = 2000


def seeds(stem: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{stem}-seed{n}" for n in numbers)


def splits(stem: str, draws: int) -> tuple[tuple[str, ...], ...]:
    """The two members of each of so many draws of a split."""
    return tuple(seeds(f"{stem}-{d}", 2 * d, 2 * d + 1) for d in range(draws))


GROUPS = {
    "same-vgg11": Group(
        "vgg11-quarter",
        "cifar10",
        tuple(seeds("vgg11-quarter", *pair) for pair in ((0, 1), (1, 2), (2, 3))),
    ),
    "same-resnet20": Group(
        "resnet20-brief",
        "cifar10",
        tuple(seeds("resnet20-brief", *pair) for pair in ((0, 1), (2, 3), (4, 5))),
    ),
    "halves-vgg11": Group("vgg11-quarter", "cifar10", splits("vgg11-quarter-halves2", 3)),
    "halves-vgg11-8000": Group(
        "vgg11-quarter", "cifar10", splits("vgg11-quarter-halves2", 6), 8000
    ),
    "dirichlet-vgg11": Group("vgg11-quarter", "cifar10", splits("vgg11-quarter-dirichlet2", 3)),
    "dirichlet-vgg11-8000": Group(
        "vgg11-quarter", "cifar10", splits("vgg11-quarter-dirichlet2", 6), 8000
    ),
    "many-halves": Group(
        "vgg11-quarter",
        "cifar10",
        tuple(sum(splits("vgg11-quarter-halves2", k // 2), ()) for k in (4, 8)),
    ),
    "many-dirichlet": Group(
        "smallcnn",
        "fashion_mnist",
        tuple(seeds("smallcnn-dirichlet16-0", *range(k)) for k in (2, 4, 8, 16)),
    ),
    "many-same": Group(
        "smallcnn", "fashion_mnist", tuple(seeds("smallcnn", *range(k)) for k in (2, 4, 8, 16))
    ),
}


@dataclass
class Views:
    """Batches of images, in a new order and with a new random shift (of a batch) and flips (of
    images) at every pass.
    """

    images: Sequence[Tensor]
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    shift: int = 2

    def __iter__(self) -> Iterator[Tensor]:
        for k in torch.randperm(len(self.images), generator=self.generator).tolist():
            x, most, size = self.images[k], self.shift, self.images[k].shape[-1]
            flip = torch.rand(len(x), generator=self.generator) < 0.5
            x = torch.where(flip[:, None, None, None], x.flip(3), x)
            down, right = torch.randint(0, 2 * most + 1, (2,), generator=self.generator).tolist()
            yield F.pad(x, (most, most, most, most))[:, :, down : down + size, right : right + size]


def load_members(group: Group, files: Sequence[str], folder: Path) -> list[nn.Module]:
    """The trained members of these names, in evaluation mode."""
    found = []
    for file in files:
        model = BUILDS[group.network]()
        model.load_state_dict(onefold.load(folder / f"{file}.safetensors"))
        found.append(model.eval())
    return found


def shifted(model: nn.Module, shifts: Tensor) -> nn.Module:
    """A copy of a classifier that ends in a linear layer, with these numbers (classes,) added to
    its logits.
    """
    copied = copy.deepcopy(model)
    last = [module for module in copied.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias += shifts.to(last.bias)
    return copied


def load_batches(
    group: Group, data: str, images: int, *, size: int = 500, quick: bool = False
) -> tuple[Batches, Batches, Batches]:
    """Training images to fold on, in batches of 100; 2,500 held-out training images and all test
    images, in batches of `size`.
    """
    source = f"{'parquet' if group.data == 'cifar10' else 'idx'}:{data}/{group.data}"
    seen = (
        45000 if group.data == "cifar10" else 55000
    )  # images that members may have been trained on
    held_out = build_data(
        source, split="train", skip=seen, limit=500 if quick else 2500, batch_size=size
    )
    test = build_data(source, split="test", batch_size=size, limit=1000 if quick else 10000)
    fast = [
        [(x.contiguous(memory_format=torch.channels_last), y) for x, y in part]
        for part in (held_out, test)
    ]
    return list(build_data(source, split="train", limit=images, batch_size=100)), fast[0], fast[1]


def open_record(path: Path) -> tuple[dict[str, Any], Callable[[], None]]:
    """What an earlier run measured, and what writes it back in one step."""
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def save() -> None:
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(path)

    return record, save
