"""The sources on real data: CIFAR-10 in parquet, Fashion-MNIST in idx files, sentences in tsv."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from text_files import write_tokenizer

from onefold.sources import build_data

pytestmark = pytest.mark.data


@pytest.mark.slow
def test_cifar10_test_split(real_data: Path) -> None:
    pytest.importorskip("pyarrow")
    data = build_data(f"parquet:{real_data / 'cifar10'}", split="test")
    assert data.labels.bincount().tolist() == [1000] * 10
    assert data.classes == 10
    x = torch.cat([x for x, _ in data])
    assert x.shape == (10_000, 3, 32, 32)
    assert x.mean().abs() < 0.05  # the default normalisation is CIFAR-10's own
    assert (x.std() - 1).abs() < 0.02


def test_cifar10_parts_do_not_overlap(real_data: Path) -> None:
    pytest.importorskip("pyarrow")
    name = f"parquet:{real_data / 'cifar10'}"
    both = build_data(name, skip=16_600, limit=200)  # across the end of the first file
    first, second = (
        build_data(name, skip=16_600, limit=100),
        build_data(name, skip=16_700, limit=100),
    )
    assert torch.equal(both.images.inputs, torch.cat([first.images.inputs, second.images.inputs]))
    assert torch.equal(both.labels, torch.cat([first.labels, second.labels]))
    assert not torch.equal(first.images.inputs, second.images.inputs)


def test_fashion_mnist(real_data: Path) -> None:
    name = f"idx:{real_data / 'fashion_mnist'}"
    data = build_data(name, split="test")
    assert data.labels.bincount().tolist() == [1000] * 10
    x, y = next(iter(data))
    assert x.shape == (128, 1, 28, 28)
    assert y[:5].tolist() == [
        9,
        2,
        1,
        1,
        6,
    ]  # the well-known first test labels: boot, pullover, trousers, trousers, shirt
    train = build_data(name, limit=500, skip=59_600)
    assert len(train.labels) == 400


@pytest.mark.parametrize(
    ("name", "columns", "sizes", "classes"),
    [
        ("sst2", "text=0&label=1", (6920, 1821), 2),
        ("trec", "label=label", (5452, 500), 6),
        ("subj", "text=0&label=1", (7996, 1999), 2),
        ("mpqa", "text=0&label=1", (8483, 2120), 2),
        ("cr", "text=0&label=1", (3017, 754), 2),
    ],
)
def test_sentences(
    real_data: Path, tmp_path: Path, name: str, columns: str, sizes: tuple[int, int], classes: int
) -> None:
    source = f"text:{real_data / 'text' / name}?{columns}&tokenizer={write_tokenizer(tmp_path)}"
    for split, size in zip(("train", "test"), sizes, strict=True):
        data = build_data(source, split=split)
        assert (len(data.labels), data.classes) == (size, classes)
        assert next(iter(data))["input_ids"].shape[0] == 128
