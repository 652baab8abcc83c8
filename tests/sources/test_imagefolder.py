"""Data sets in folders of images, one for each class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_files import joined

from onefold.errors import DataError
from onefold.sources import build_data


def test_imagefolder(image_folder: Path) -> None:
    data = build_data(f"imagefolder:{image_folder}?mean=0&std=1")
    x, y = joined(data)
    assert x.shape == (16, 3, 6, 6)
    assert data.classes == 2
    values = (x[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(values // 100, y)  # each image has its folder's class
    assert set(joined(build_data(f"imagefolder:{image_folder}", limit=8))[1].tolist()) == {
        0,
        1,
    }  # a part holds both classes
    a, b = (
        joined(build_data(f"imagefolder:{image_folder}?mean=0&std=1", **kw))[0]
        for kw in ({"limit": 5}, {"skip": 5})
    )
    assert torch.equal(torch.cat([a, b]), x)
    assert len(joined(build_data(f"imagefolder:{image_folder}", split="test"))[1]) == 6


def test_imagefolder_numbers_test_classes_as_in_training(image_folder: Path) -> None:
    import shutil

    shutil.rmtree(image_folder / "val" / "cat")
    assert joined(build_data(f"imagefolder:{image_folder}", split="test"))[1].tolist() == [1, 1, 1]
    (image_folder / "val" / "cow").mkdir()
    with pytest.raises(DataError, match="class 'cow'"):
        build_data(f"imagefolder:{image_folder}", split="test")


def test_imagefolder_names_a_broken_image(image_folder: Path) -> None:
    (image_folder / "train" / "dog" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"dog/3\.png is no image"):
        build_data(f"imagefolder:{image_folder}")
