"""Real images in four parts, the same for every member and every benchmark.

| part       | CIFAR-10         | Fashion-MNIST    | purpose                                   |
|------------|------------------|------------------|-------------------------------------------|
| seen       | train 0 - 40,000 | train 0 - 50,000 | the images that members are trained on    |
| unlabelled | 40,000 - 45,000  | 50,000 - 55,000  | folds, repair, distillation; no labels    |
| choices    | 45,000 - 50,000  | 55,000 - 60,000  | labelled; settings are chosen on them     |
| test       | all test images  | all test images  | figures that are published                |
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from onefold.sources import build_data

REPOSITORY = Path(__file__).resolve().parents[2]
HELD_OUT = 5000  # images in each of the parts "unlabelled" and "choices"
SOURCES = {"cifar10": "parquet:{}/cifar10", "fashion_mnist": "idx:{}/fashion_mnist"}


@dataclass(frozen=True)
class Part:
    """images (n, channels, height, width), float32 and normalized; labels (n,), int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int = 500) -> list[tuple[Tensor, Tensor]]:
        """Batches of (images, labels) in order; the last may be smaller."""
        pairs = zip(self.images.split(size), self.labels.split(size), strict=True)
        return list(pairs)

    def unlabelled(self, size: int = 100) -> list[Tensor]:
        """Batches of images alone."""
        return list(self.images.split(size))


@dataclass(frozen=True)
class Data:
    """One data set in the four parts of this module's table."""

    seen: Part
    unlabelled: Part
    choices: Part
    test: Part


def data_folder() -> Path:
    """The folder of real data: ONEFOLD_DATA, or `shared/data` beside the repository."""
    return Path(os.environ.get("ONEFOLD_DATA", REPOSITORY.parent / "shared" / "data"))


@lru_cache(maxsize=2)
def load_data(name: str) -> Data:
    """CIFAR-10 ("cifar10") or Fashion-MNIST ("fashion_mnist") from `data_folder()`.

    "digits" are the 1,797 images of 8x8 pixels that scikit-learn carries. They serve tests.
    """
    if name == "digits":
        whole = _whole("sklearn:digits", "train")
        return Data(*(Part(whole.images[a:b], whole.labels[a:b]) for a, b in _digits_cuts(whole)))
    source = SOURCES[name].format(data_folder())
    train, test = _whole(source, "train"), _whole(source, "test")
    first, second = len(train) - 2 * HELD_OUT, len(train) - HELD_OUT
    cuts = ((0, first), (first, second), (second, len(train)))
    parts = [Part(train.images[a:b], train.labels[a:b]) for a, b in cuts]
    return Data(*parts, test)


def _digits_cuts(whole: Part) -> tuple[tuple[int, int], ...]:
    n = len(whole)
    return (0, n - 600), (n - 600, n - 400), (n - 400, n - 200), (n - 200, n)


def _whole(source: str, split: str) -> Part:
    parts = list(build_data(source, split=split, batch_size=1000))
    return Part(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
