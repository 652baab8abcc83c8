"""Data sets made by a function of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_files import joined

from onefold.batches import batches
from onefold.errors import DataError, SettingError
from onefold.sources import build_data


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
    with pytest.raises(DataError, match=r"failed in line 10 of own\.py with KeyError"):
        build_data(f"{own_file}:fails")
