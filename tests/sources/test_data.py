"""Data sets by name: skip and limit cut without overlap, and wrong requests are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import joined

from onefold.errors import DataError, SettingError
from onefold.sources import ImageBatches, Images, build_data, number_of_classes
from onefold.sources.loader import Part


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sklearn:digit", {}, "did you mean 'sklearn:digits'"),
        ("parket:x", {}, "did you mean 'parquet:x'"),
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
