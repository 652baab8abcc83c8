"""Data sets in idx files, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_files import joined, pixels, write_idx

from onefold.errors import DataError
from onefold.sources import build_data


def test_idx(idx_folder: Path) -> None:
    data = build_data(f"idx:{idx_folder}", batch_size=7)
    x, y = joined(data)
    assert torch.allclose(x, torch.from_numpy(pixels(20, channels=1)).permute(0, 3, 1, 2) / 255)
    assert y.tolist() == [i % 4 for i in range(20)]
    part = build_data(f"idx:{idx_folder}", skip=3, limit=5)
    assert torch.equal(joined(part)[0], x[3:8])
    assert joined(part)[1].tolist() == [3, 0, 1, 2, 3]
    assert build_data(f"idx:{idx_folder}", limit=2).classes == 4
    assert len(joined(build_data(f"idx:{idx_folder}", split="test"))[1]) == 6
    with pytest.raises(DataError, match="20 examples"):
        build_data(f"idx:{idx_folder}", skip=20)


def test_damaged_idx(idx_folder: Path) -> None:
    images = idx_folder / "t10k-images-idx3-ubyte"
    data = images.read_bytes()
    for content, message in (
        (data[:-1], "cut short"),
        (data + b"x", "longer"),
        (b"\0\0\x0d\x03" + data[4:], "no idx file"),
        (data[:6], "cut short"),
    ):
        images.write_bytes(content)
        with pytest.raises(DataError, match=message):
            build_data(f"idx:{idx_folder}", split="test")
    write_idx(images, pixels(5, channels=1)[..., 0])
    with pytest.raises(DataError, match=r"5 images but .* 6 labels"):
        build_data(f"idx:{idx_folder}", split="test")
    zipped = idx_folder / "train-images-idx3-ubyte.gz"
    for content in (zipped.read_bytes()[:-20], b"not gzip"):
        zipped.write_bytes(content)
        with pytest.raises(DataError, match=r"ubyte\.gz (cannot be read|is cut short)"):
            build_data(f"idx:{idx_folder}")
