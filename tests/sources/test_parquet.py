"""Data sets in parquet files: images, labels, parts and columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import joined, pixels, write_parquet

from onefold.errors import DataError
from onefold.sources import build_data


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
