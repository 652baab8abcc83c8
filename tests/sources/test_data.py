"""Data sets by name: what is yielded, that skip and limit cut without overlap, and that wrong
requests are refused in one sentence.
"""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onefold.batches import batches
from onefold.errors import DataError, SettingError
from onefold.sources import ImageBatches, Images, build_data, number_of_classes
from onefold.sources.loader import Part

Image = pytest.importorskip("PIL.Image")


def pixels(n: int, side: int = 6, seed: int = 0, channels: int = 3) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "PNG")
    return file.getvalue()


def joined(data: Any) -> tuple[Tensor, Tensor]:
    parts = list(data)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def write_parquet(
    path: Path,
    images: Any,
    labels: Any,
    image: str = "img",
    label: str = "label",
    names: int | None = None,
) -> None:
    pa = pytest.importorskip("pyarrow")
    import json

    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {image: pa.array([{"bytes": png(x), "path": None} for x in images], kind), label: labels}
    )
    if names is not None:
        features = {label: {"names": [str(i) for i in range(names)], "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path, row_group_size=7)


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


def write_idx(path: Path, array: Any) -> None:
    data = (
        struct.pack(">BBBB", 0, 0, 8, array.ndim)
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


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


# ---------------------------------------------------------------- batches


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 20),
    batch=st.integers(1, 7),
    skip=st.integers(0, 25),
    limit=st.one_of(st.none(), st.integers(1, 25)),
)
def test_a_part_of_somebody_s_batches(n: int, batch: int, skip: int, limit: int | None) -> None:
    x = torch.arange(n).float()
    data = [(x[i : i + batch], x[i : i + batch].long()) for i in range(0, n, batch)]
    expected = x[skip : None if limit is None else skip + limit]
    part = Part(data, skip, limit)
    for _ in range(2):
        assert torch.equal(torch.cat([torch.empty(0), *(b for b, _ in part)]), expected)
    keyword = Part([{"x": a, "labels": b} for a, b in data], skip, limit)
    assert torch.equal(torch.cat([torch.empty(0), *(b["x"] for b in keyword)]), expected)


def test_shuffled_passes_differ_and_are_repeatable() -> None:
    images = Images(torch.rand(20, 1, 2, 2), torch.arange(20), 20)
    first, second = (ImageBatches(images, 6, shuffle=True, seed=1) for _ in range(2))
    one, two = joined(first)[1], joined(first)[1]
    assert one.sort().values.tolist() == two.sort().values.tolist() == list(range(20))
    assert one.tolist() != two.tolist()
    assert torch.equal(joined(second)[1], one)
    assert torch.equal(joined(second)[1], two)
    assert joined(ImageBatches(images, 6, shuffle=True, seed=2))[1].tolist() != one.tolist()


def test_inputs_are_normalised_and_not_changed() -> None:
    raw = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    kept = raw.clone()
    data = ImageBatches(
        Images(raw, torch.arange(5), 5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), 2
    )
    x, _ = joined(data)
    expected = (raw / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.6, 0.7]
    ).view(3, 1, 1)
    assert torch.allclose(x, expected, atol=1e-6)
    floats = torch.rand(5, 1, 4, 4)
    again = ImageBatches(Images(floats, torch.arange(5), 5, mean=(0.5,), std=(2.0,)), 5)
    assert torch.equal(joined(again)[0], joined(again)[0])
    assert torch.equal(raw, kept)
    assert len(data) == 3


def test_number_of_classes() -> None:
    x = torch.ones(3, 2)
    assert number_of_classes([(x, torch.tensor([0, 4, 1]))]) == 5
    assert number_of_classes(build_data("sklearn:digits", limit=2)) == 10
    for data in ([x], [(x, torch.rand(3))], [(x, torch.ones(3, 2, dtype=torch.int64))]):
        with pytest.raises(DataError, match="no class labels"):
            number_of_classes(data)


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sklearn:digit", {}, "did you mean 'sklearn:digits'"),
        ("parket:x", {}, "did you mean 'parquet:'"),
        ("sklearn:digits", {"split": "dev"}, "'train' or 'test'"),
        ("sklearn:digits", {"limit": 0}, "limit .* at least 1"),
        ("sklearn:digits", {"batch_size": 2.5}, "batch_size"),
        ("sklearn:digits", {"skip": -1}, "skip"),
        ("sklearn:digits?size=3", {}, "no option 'size'"),
        ("idx:", {}, "no place"),
        ("parquet:x?means=1", {}, "no option 'means'; did you mean 'mean'"),
        ("parquet:x?mean=1", {}, "only one of mean and std"),
        ("parquet:x?mean=0.5&std=0", {}, "above 0"),
        ("parquet:x?mean=a&std=1", {}, "must be one number or 3"),
        ("parquet:x?mean=1,2&std=1", {}, "must be one number or 3"),
        ("parquet:x?size=0", {}, "size"),
        ("parquet:x?channels=2", {}, "must be 1 or 3"),
    ],
)
def test_wrong_requests_are_refused_before_reading(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        build_data(name, **options)


@pytest.mark.parametrize("kind", ["parquet", "idx", "imagefolder"])
def test_missing_and_empty_folders(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        build_data(f"{kind}:{tmp_path / 'absent'}")
    with pytest.raises(DataError, match=f"The folder {tmp_path} "):
        build_data(f"{kind}:{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="names a file"):
        build_data(f"{kind}:{tmp_path / 'file'}")


# ---------------------------------------------------------------- digits


def test_digits() -> None:
    pytest.importorskip("sklearn")
    (x, y), (xt, yt) = (
        joined(build_data("sklearn:digits", split=split)) for split in ("train", "test")
    )
    assert x.shape == (1257, 1, 8, 8)
    assert xt.shape == (540, 1, 8, 8)
    assert (x.dtype, y.dtype, float(x.min()), float(x.max())) == (
        torch.float32,
        torch.int64,
        0.0,
        1.0,
    )
    assert (y.bincount() / len(y) - yt.bincount() / len(yt)).abs().max() < 0.002  # stratified
    rows = {tuple(image.flatten().tolist()) for image in x}
    assert not any(tuple(image.flatten().tolist()) in rows for image in xt)
    a, b = (
        joined(build_data("sklearn:digits", limit=100))[0],
        joined(build_data("sklearn:digits", skip=100))[0],
    )
    assert torch.equal(torch.cat([a, b]), x)
    with pytest.raises(DataError, match="1257 examples, so none is left after skipping 2000"):
        build_data("sklearn:digits", skip=2000)


# ---------------------------------------------------------------- parquet


def test_parquet_images_labels_and_classes(parquet_folder: Path) -> None:
    data = build_data(f"parquet:{parquet_folder}?mean=0&std=1", batch_size=8)
    x, y = joined(data)
    assert torch.allclose(x, torch.from_numpy(pixels(30)).permute(0, 3, 1, 2) / 255)
    assert y.tolist() == [i % 3 for _ in range(3) for i in range(10)]
    assert data.classes == 4  # the data set's own description knows a class that no image has
    assert build_data(f"parquet:{parquet_folder}", split="test", limit=1).classes == 3


@pytest.mark.parametrize(
    ("skip", "limit"), [(0, 5), (3, 9), (10, 10), (9, 2), (7, 14), (25, 100), (0, 30), (29, 1)]
)
def test_parquet_parts(parquet_folder: Path, skip: int, limit: int) -> None:
    whole, labels = joined(build_data(f"parquet:{parquet_folder}"))
    x, y = joined(build_data(f"parquet:{parquet_folder}", skip=skip, limit=limit))
    assert torch.equal(x, whole[skip : skip + limit])
    assert torch.equal(y, labels[skip : skip + limit])


def test_parquet_decodes_only_what_is_wanted(parquet_folder: Path) -> None:
    write_parquet(parquet_folder / "train-00000-of-00003.parquet", pixels(10), [0] * 10)
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(parquet_folder / "train-00001-of-00003.parquet").to_pylist()
    table[5]["img"]["bytes"] = b"no image"
    pq.write_table(pa.Table.from_pylist(table), parquet_folder / "train-00001-of-00003.parquet")
    assert len(joined(build_data(f"parquet:{parquet_folder}", limit=15))[1]) == 15
    with pytest.raises(DataError, match=r"Image in row 15 .*no image that Pillow can read"):
        build_data(f"parquet:{parquet_folder}", limit=16)


def test_parquet_default_normalisation_and_grey(parquet_folder: Path) -> None:
    from onefold.sources.images import CIFAR

    x, _ = joined(build_data(f"parquet:{parquet_folder}"))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in CIFAR)
    assert torch.allclose(
        x * std + mean, torch.from_numpy(pixels(30)).permute(0, 3, 1, 2) / 255, atol=1e-6
    )
    grey = next(iter(build_data(f"parquet:{parquet_folder}?channels=1&size=4")))[0]
    assert grey.shape == (30, 1, 4, 4)
    assert 0 <= float(grey.min()) < float(grey.max()) <= 1


def test_parquet_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", pixels(3), [0, 1, 2], image="picture", label="kind")
    assert joined(build_data(f"parquet:{tmp_path}"))[1].tolist() == [0, 1, 2]  # by their types
    with pytest.raises(DataError, match="no label column 'klass'; its columns are picture, kind"):
        build_data(f"parquet:{tmp_path}?label=klass")
    with pytest.raises(DataError, match=r"no test-\*.parquet"):
        build_data(f"parquet:{tmp_path}", split="test")
    write_parquet(tmp_path / "train.parquet", pixels(3), ["a", "b", "c"])
    with pytest.raises(DataError, match="no label column"):
        build_data(f"parquet:{tmp_path}")
    write_parquet(tmp_path / "train.parquet", pixels(3), [-1, -1, -1])
    with pytest.raises(DataError, match="label -1, so it is unlabelled"):
        build_data(f"parquet:{tmp_path}")
    write_parquet(tmp_path / "train.parquet", [], np.array([], dtype=np.int64), names=3)
    with pytest.raises(DataError, match="is empty"):
        build_data(f"parquet:{tmp_path}")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match="damaged"):
        build_data(f"parquet:{tmp_path}")


def test_parquet_in_a_data_folder_and_images_of_several_sizes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parquet(
        tmp_path / "data" / "validation-00000-of-00001.parquet",
        [pixels(1)[0], pixels(1, side=9)[0]],
        [0, 1],
    )
    with pytest.raises(DataError, match=r"9x9 pixels but .* 6x6; add \?size"):
        build_data(f"parquet:{tmp_path}", split="test")
    assert joined(build_data(f"parquet:{tmp_path}?size=5", split="test"))[0].shape == (2, 3, 5, 5)


# ---------------------------------------------------------------- idx


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


# ---------------------------------------------------------------- image folders


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


# ---------------------------------------------------------------- own functions


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


def test_own_function(own_file: Path) -> None:
    x, y = joined(build_data(f"{own_file}:plain?n=6"))
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    assert y.dtype == torch.int64
    data = build_data(f"{own_file}:plain", skip=3, limit=4)
    assert joined(data)[0].tolist() == joined(data)[0].tolist() == [3, 4, 5, 6]
    values = [
        float(b.args[0])
        for b in batches(
            build_data(f"{own_file}:full", limit=9, skip=2, batch_size=3, shuffle=True, seed=5)
        )
    ]
    assert values == [9, 2, 3, 1, 5]


def test_own_function_that_does_not_fit(own_file: Path) -> None:
    with pytest.raises(SettingError, match="no argument shuffle"):
        build_data(f"{own_file}:plain", shuffle=True)
    with pytest.raises(SettingError, match="unexpected keyword argument 'm'"):
        build_data(f"{own_file}:plain?m=1")
    with pytest.raises(DataError, match="iterator, which can be read only once"):
        build_data(f"{own_file}:once")
    with pytest.raises(DataError, match="failed with KeyError"):
        build_data(f"{own_file}:fails")
