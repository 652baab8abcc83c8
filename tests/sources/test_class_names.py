"""Which class has which number: names that sources know, and the order of `classes=`."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from onefold.errors import DataError, SettingError
from onefold.sources import build_data
from onefold.sources.class_names import class_map, class_names_of

NAMES = ("cat", "dog", "eel")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for shade, name in enumerate(NAMES):
            (tmp_path / split / name).mkdir(parents=True)
            for k in range(2):
                Image.fromarray(np.full((4, 4), 100 * shade + k, dtype=np.uint8)).save(
                    tmp_path / split / name / f"{k}.png"
                )
    return tmp_path


def shades(data: object) -> dict[int, str]:
    """Label -> the class whose images have it, by their brightness."""
    found = {}
    for x, y in data:  # type: ignore[attr-defined]
        for image, label in zip(x, y.tolist(), strict=True):
            found[label] = NAMES[round(float(image.mean()) * 2.55 - 0.005)]
    return found


def test_folders_are_numbered_by_name_and_say_so(folder: Path) -> None:
    data = build_data(f"imagefolder:{folder}?channels=1")
    assert class_names_of(data) == NAMES
    assert class_map(class_names_of(data)) == "0 = cat, 1 = dog, 2 = eel"
    assert shades(data) == dict(enumerate(NAMES))


@pytest.mark.parametrize("way", ["names", "file beside the data", "file", "argument"])
def test_another_order_of_classes(
    folder: Path, way: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = ["eel", "fox", "cat", "dog"]  # the members know one more
    apart = tmp_path_factory.mktemp("apart") / "names.txt"
    for file in (folder / "classes.txt", apart):
        file.write_text("\n".join(wanted) + "\n")
    option = {
        "names": ",".join(wanted),
        "file beside the data": "classes.txt",
        "file": str(apart),
    }.get(way)
    name = f"imagefolder:{folder}?channels=1" + (f"&classes={option}" if option else "")
    data = build_data(name, **({} if option else {"classes": wanted}))
    assert class_names_of(data) == tuple(wanted)
    assert data.classes == 4  # type: ignore[attr-defined]
    assert shades(data) == {0: "eel", 2: "cat", 3: "dog"}


def test_orders_that_cannot_be_are_refused(folder: Path) -> None:
    source = f"imagefolder:{folder}?channels=1&classes="
    for option, kind, message in (
        ("cat,dog", SettingError, "lacks the class 'eel'"),
        ("cat,dog,eels", SettingError, "lacks the class 'eel'.*did you mean 'eels'"),
        ("cat,dog,eel,cat", SettingError, "names 'cat' twice"),
        ("nowhere.txt", SettingError, "which is no file"),
        (",", SettingError, "names no class"),
    ):
        with pytest.raises(kind, match=message):
            build_data(source + option)
    (folder / "odd.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="class names cannot be read"):
        build_data(source + "odd.txt")


def test_names_that_look_like_numbers_or_words_stay_names(tmp_path: Path) -> None:
    for name in ("007", "1e3", "none", "true"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "train" / name / "0.png")
    data = build_data(f"imagefolder:{tmp_path}?classes=true,none,1e3,007")
    assert class_names_of(data) == ("true", "none", "1e3", "007")
    assert sorted(label for _, y in data for label in y.tolist()) == [0, 1, 2, 3]


@pytest.mark.slow
def test_digits_and_idx_are_renumbered_by_their_numbers(tmp_path: Path) -> None:
    plain, turned = (
        build_data(f"sklearn:digits{option}", limit=50)
        for option in ("", "?classes=9,8,7,6,5,4,3,2,1,0")
    )
    assert class_names_of(plain) == tuple("0123456789")
    assert class_names_of(turned)[0] == "9"
    assert torch.equal(9 - plain.labels, turned.labels)  # type: ignore[attr-defined]
    images, labels = np.zeros((4, 2, 2), dtype=np.uint8), np.array([0, 1, 2, 1], dtype=np.uint8)
    for stem, values in (("images-idx3", images), ("labels-idx1", labels)):
        head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
        (tmp_path / f"train-{stem}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))
    assert class_names_of(build_data(f"idx:{tmp_path}")) == ()
    assert build_data(f"idx:{tmp_path}?classes=2,1,0").labels.tolist() == [2, 1, 0, 1]


def test_parquet_knows_its_names(tmp_path: Path) -> None:
    import io
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(buffer, format="png")
    table = pa.table({"image": [{"bytes": buffer.getvalue()}] * 3, "label": [0, 1, 2]})
    described = {"info": {"features": {"label": {"names": list(NAMES)}}}}
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(described)}),
        tmp_path / "train.parquet",
    )
    assert class_names_of(build_data(f"parquet:{tmp_path}")) == NAMES
    turned = build_data(f"parquet:{tmp_path}?classes=eel,dog,cat")
    assert (turned.labels.tolist(), class_names_of(turned)) == ([2, 1, 0], ("eel", "dog", "cat"))


def test_names_of_other_loaders() -> None:
    assert class_names_of(SimpleNamespace(dataset=SimpleNamespace(classes=["a", "b"]))) == (
        "a",
        "b",
    )
    assert class_names_of([1, 2]) == class_names_of(SimpleNamespace(classes=10)) == ()
    assert class_map([f"c{k}" for k in range(30)]).endswith("19 = c19 and 10 more")
    assert class_map([str(k) for k in range(30)]) == ""  # the names are the numbers
    assert class_map(()) == ""
