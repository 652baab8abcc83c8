"""Folders of images with folders of masks: which belong together, what their numbers mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import Image, joined

import onefold as of
from onefold.counting import count_examples
from onefold.errors import DataError, OnefoldError
from onefold.sources import build_data

RNG = np.random.default_rng(0)


def write(
    folder: Path,
    count: int = 6,
    size: tuple[int, int] = (8, 6),
    images: str = "images",
    masks: str = "masks",
    suffix: str = "",
    values: tuple[int, ...] = (0, 1, 2),
    start: int = 0,
) -> None:
    """Pictures k.jpg of the grey value 10 k, and masks k.png, whose corner is the class k % 3."""
    for place in (folder / images, folder / masks):
        place.mkdir(parents=True, exist_ok=True)
    for k in range(start, start + count):
        pixels = np.full((*size, 3), 10 * k, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / images / f"{k}.bmp")
        mask = RNG.choice(values, size).astype(np.uint8)
        mask[0, 0] = values[k % len(values)]
        Image.fromarray(mask).save(folder / masks / f"{k}{suffix}.png")


def numbers(x: torch.Tensor) -> list[int]:
    """Which pictures these are, by their grey values."""
    return (x[:, 0, 0, 0] * 25.5).round().long().tolist()


def test_images_have_their_masks(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "val", count=2, start=6)
    name = f"masks:{tmp_path}?mean=0&std=1"
    data = build_data(name, batch_size=4)
    x, y = joined(data)
    assert (x.shape, x.dtype) == ((6, 3, 8, 6), torch.float32)
    assert (y.shape, y.dtype) == ((6, 8, 6), torch.int64)
    assert y[:, 0, 0].tolist() == [k % 3 for k in numbers(x)]
    for k, mask in zip(numbers(x), y, strict=True):
        with Image.open(tmp_path / "train" / "masks" / f"{k}.png") as own:
            assert np.array_equal(mask.numpy(), np.asarray(own))
    assert [len(x) for x, _ in data] == [4, 2]
    assert torch.equal(data.labels, y)
    assert sorted(numbers(joined(build_data(name, split="test"))[0])) == [6, 7]
    parts = [numbers(joined(build_data(name, **kw))[0]) for kw in ({"limit": 2}, {"skip": 2})]
    assert parts[0] + parts[1] == numbers(x)
    shuffled = build_data(name, shuffle=True, seed=1)
    assert numbers(joined(shuffled)[0]) != numbers(joined(shuffled)[0])
    usual = joined(build_data(f"masks:{tmp_path}"))[0]
    assert not torch.allclose(usual, x)
    assert joined(build_data(f"masks:{tmp_path}?channels=1"))[0].shape == (6, 1, 8, 6)


def test_other_folders(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train", images="img", masks="gt", suffix="_mask")
    x, y = joined(build_data(f"masks:{tmp_path / 'a'}?images=img&masks=gt&suffix=_mask"))
    assert (len(x), len(y)) == (6, 6)
    write(tmp_path / "b", images="images/training", masks="annotations/training")
    write(tmp_path / "b", images="images/validation", masks="annotations/validation", count=2)
    assert len(joined(build_data(f"masks:{tmp_path / 'b'}"))[0]) == 6
    assert len(joined(build_data(f"masks:{tmp_path / 'b'}", split="test"))[0]) == 2
    write(tmp_path / "c", images="images/one", masks="masks/one")
    write(tmp_path / "c", images="images/two", masks="masks/two")
    held = f"masks:{tmp_path / 'c'}?test_share=0.25"
    assert [len(joined(build_data(held, split=s))[0]) for s in ("train", "test")] == [9, 3]
    with pytest.raises(DataError, match=r"no test split; add test_share=0.2"):
        build_data(f"masks:{tmp_path / 'c'}", split="test")


def test_images_of_unequal_sizes_share_no_batch_or_are_scaled(tmp_path: Path) -> None:
    write(tmp_path / "train", count=5)
    write(tmp_path / "train", count=4, size=(12, 8), start=5)
    data = build_data(f"masks:{tmp_path}", batch_size=3, shuffle=True)
    for _ in range(2):
        shapes = [tuple(x.shape) for x, _ in data]
        assert sorted(shapes) == [(1, 3, 12, 8), (2, 3, 8, 6), (3, 3, 8, 6), (3, 3, 12, 8)]
        assert len(data) == 4
    assert all(x.shape[2:] == y.shape[1:] for x, y in data)
    assert data.labels is None
    assert count_examples(data) == 9
    x, y = joined(build_data(f"masks:{tmp_path}?size=8"))
    assert (x.shape, y.shape) == ((9, 3, 8, 8), (9, 8, 8))
    assert set(y.unique().tolist()) == {0, 1, 2}  # no class between two


def test_numbers_that_mean_others(tmp_path: Path) -> None:
    write(tmp_path / "void" / "train", values=(0, 1, 255))
    assert joined(build_data(f"masks:{tmp_path / 'void'}"))[1].unique().tolist() == [-100, 0, 1]
    kept = build_data(f"masks:{tmp_path / 'void'}?values=255:2,0:ignore")
    assert joined(kept)[1].unique().tolist() == [-100, 1, 2]
    write(tmp_path / "two" / "train", values=(0, 255))
    with pytest.raises(DataError, match=r"numbers 0 and 255 alone; say what they mean, as values="):
        build_data(f"masks:{tmp_path / 'two'}")
    two = build_data(f"masks:{tmp_path / 'two'}?values=0:0,255:1&classes=ground,river")
    assert joined(two)[1].unique().tolist() == [0, 1]
    assert (two.classes, two.class_names) == (2, ("ground", "river"))
    (tmp_path / "two" / "names.txt").write_text("ground\n")
    with pytest.raises(DataError, match=r"holds the class 1, but 'classes' of .* names 1"):
        build_data(f"masks:{tmp_path / 'two'}?values=0:0,255:1&classes=names.txt")


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    wanted = RNG.integers(0, 2, (8, 6)).astype(np.uint8)
    palette = Image.fromarray(wanted * 3, mode="P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 255, 0, 0])
    grey = Image.fromarray(wanted)
    kinds = {
        "palette": (palette, 3),
        "colours that are grey": (grey.convert("RGB"), 1),
        "bits": (Image.fromarray(wanted.astype(bool)), 1),
        "16 bits": (Image.fromarray(wanted.astype(np.uint16) * 1000), 1000),
    }
    for name, (picture, factor) in kinds.items():
        folder = tmp_path / name / "train"
        write(folder, count=1)
        picture.save(folder / "masks" / "0.png")
        _, y = joined(build_data(f"masks:{tmp_path / name}"))
        assert np.array_equal(y[0].numpy(), wanted.astype(int) * factor), name


def spoilt(folder: Path, case: str) -> None:
    train = folder / "train"
    write(train)
    if case == "no mask":
        (train / "masks" / "3.png").unlink()
    elif case == "no image":
        (train / "images" / "3.bmp").unlink()
    elif case == "size":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(train / "masks" / "3.png")
    elif case == "colours":
        Image.fromarray(RNG.integers(0, 9, (8, 6, 3)).astype(np.uint8)).save(
            train / "masks" / "3.png"
        )
    elif case == "floats":
        Image.fromarray(np.zeros((8, 6), np.float32)).save(train / "masks" / "3.tif")
        (train / "masks" / "3.png").unlink()
    elif case == "jpeg":
        Image.fromarray(np.zeros((8, 6), np.uint8)).save(train / "masks" / "3.jpg")
        (train / "masks" / "3.png").unlink()
    elif case == "twice":
        Image.fromarray(np.zeros((8, 6), np.uint8)).save(train / "masks" / "3.bmp")
    elif case == "broken mask":
        (train / "masks" / "3.png").write_bytes(b"no image")
    elif case == "empty":
        for file in (*train.glob("*/*.png"), *train.glob("*/*.bmp")):
            file.unlink()
    elif case == "images alone":
        (train / "masks").rename(train / "other")
    elif case == "nothing":
        train.rename(folder / "other")


REFUSED = {
    "no mask": (r"The image .*/images/3\.bmp has no mask .*/masks/3\.png; add the mask", ""),
    "no image": (r"The mask .*/masks/3\.png has no image in .*/images; add it", ""),
    "size": (r"The mask .*3\.png has 4x4 pixels but its image .*3\.bmp 6x8; bring them", ""),
    "colours": (r"The mask .*3\.png holds colours; save class numbers", ""),
    "floats": (r"The mask .*3\.tif holds numbers of the kind F", ""),
    "jpeg": (r"The mask .*3\.jpg is a JPEG, which changes numbers", ""),
    "twice": (r"The files .*3\.bmp and .*3\.png have one name; remove one", ""),
    "broken mask": (r"3\.png is no image that Pillow can read", ""),
    "empty": (r"The train split of .* is empty", ""),
    "images alone": (r"has .*/train/images alone; put both into .*/train/images and", ""),
    "nothing": (r"has no folders of images and masks; put both into", ""),
    "values": (r"must be numbers with their classes, as 0:0,255:1 .*, not 255", "values=255"),
    "a meaning": (r"as 0:0,255:1 or 255:ignore, not '255:none'", "values=255:none"),
    "an option": (r"has no option 'mask'; did you mean 'masks'", "mask=gt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    spoilt(tmp_path, case)
    told, options = REFUSED[case]
    with pytest.raises(OnefoldError, match=told) as caught:
        build_data(f"masks:{tmp_path}?{options}" if options else f"masks:{tmp_path}")
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


def test_the_commands(onefold: Callable[..., Any], tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Conv2d(3, 4, 3,"
        " padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))\n"
    )
    write(tmp_path / "data" / "train", count=5)
    write(tmp_path / "data" / "train", count=4, size=(12, 8), start=5)
    write(tmp_path / "data" / "test", count=4, values=(0, 1, 255))
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)
        )
        files.append(of.save(network, tmp_path / f"{seed}.safetensors"))
    flags = ["--model", f"{model}:build", "--data", f"masks:{tmp_path / 'data'}"]
    done = onefold("eval", *files, *flags)
    assert done.status == 0, done.err
    assert "mean IoU" in done.out
    out = ["-o", tmp_path / "f.safetensors"]
    done = onefold("merge", *files, *flags, "--batch-size", "2", "--eval-split", "test", *out)
    assert done.status == 0, done.err
