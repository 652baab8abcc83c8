"""Small data sets in files: images, parquet, idx."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

Image = pytest.importorskip("PIL.Image")


def pixels(n: int, side: int = 6, seed: int = 0, channels: int = 3) -> Any:
    """Random images (n, side, side, channels) as bytes."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def png(array: Any) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "PNG")
    return file.getvalue()


def joined(data: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of all batches."""
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


def write_idx(path: Path, array: Any) -> None:
    """Write an array as an idx file."""
    data = (
        struct.pack(">BBBB", 0, 0, 8, array.ndim)
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
