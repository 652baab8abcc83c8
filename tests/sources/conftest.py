"""Fixtures of the tests of data sources: small data sets in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_files import Image, pixels, write_idx, write_parquet


@pytest.fixture
def parquet_folder(tmp_path: Path) -> Path:
    images = pixels(30)
    for number in range(3):
        write_parquet(
            tmp_path / f"train-0000{number}-of-00003.parquet",
            images[10 * number : 10 * number + 10],
            [i % 3 for i in range(10)],
            names=4,
        )
    write_parquet(tmp_path / "test-00000-of-00001.parquet", pixels(5, seed=1), [0, 1, 2, 0, 1])
    return tmp_path


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    for prefix, n, end in (("train", 20, ".gz"), ("t10k", 6, "")):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte{end}", pixels(n, channels=1)[..., 0])
        write_idx(
            tmp_path / f"{prefix}-labels-idx1-ubyte{end}", (np.arange(n) % 4).astype(np.uint8)
        )
    return tmp_path


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    for split, n in (("train", 8), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(np.full((6, 6, 3), 100 * label + i, dtype=np.uint8)).save(
                    folder / f"{i}.png"
                )
    (tmp_path / "train" / "cat" / "Thumbs.db").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(
        "import torch\ndef plain(split, n=10):\n    x = torch.arange(float(n))\n    return"
        " [(x[i:i+4], x[i:i+4].long()) for i in range(0, n, 4)]\ndef full(split, limit, skip,"
        " batch_size, shuffle, seed):\n    return [(torch.full((1,), float(v)),) for v in (limit,"
        " skip, batch_size, shuffle, seed)]\ndef once(split):\n    return"
        " iter([torch.ones(2)])\ndef fails(split):\n    raise KeyError('data')\n"
    )
    return path
