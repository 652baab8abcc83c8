"""The handwritten digits of scikit-learn."""

from __future__ import annotations

import pytest
import torch
from image_files import joined

from onefold.errors import DataError
from onefold.sources import build_data


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
