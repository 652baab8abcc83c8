"""Rows of tensors as numbers: files are mapped, and a chunk is decoded at a time."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onefold.checkpoints.comparison.entries import Entry
from onefold.errors import WeightsError
from onefold.weights.header import ITEM_SIZES

Raw = npt.NDArray[Any]
Numbers = npt.NDArray[np.float64]

FLOATS = ("F64", "F32", "F16", "BF16")  # dtypes of which differences are taken


class Files:
    """The files of several checkpoints, each mapped once when it is first read.

    They must stay as they are while they are read.
    """

    def __init__(self) -> None:
        self._mapped: dict[Path, mmap.mmap] = {}

    def open(self, file: Path) -> None:
        """Map a file; call it before threads read.

        Raises:
            WeightsError: the system refuses.
        """
        if file in self._mapped or not os.path.getsize(file):
            return
        try:
            with open(file, "rb") as stream:
                self._mapped[file] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise WeightsError(f"{file} cannot be read ({error.strerror}).") from error

    def raw(self, entry: Entry, begin: int, end: int) -> Raw:
        """The elements `begin` to `end` as unsigned integers of their size; no copy is made."""
        if entry.tensor is not None:
            return _of_torch(entry.tensor, begin, end)
        size = ITEM_SIZES[entry.dtype]
        if begin >= end:
            return np.empty(0, _unsigned(size))
        start = entry.begin + begin * size
        whole = self._mapped[entry.file]
        return np.frombuffer(whole, _unsigned(size), end - begin, start)


def _unsigned(size: int) -> np.dtype[Any]:
    return np.dtype(f"<u{size}")


def _of_torch(tensor: Any, begin: int, end: int) -> Raw:
    """A part of a mapped tensor of torch; only that part is copied where it is not contiguous."""
    import torch

    if tensor.is_contiguous():
        part = tensor.reshape(-1)[begin:end]
    else:
        across = max(tensor[0].numel(), 1)
        first, last = begin // across, -(-end // across)
        part = tensor[first:last].reshape(-1)[begin - first * across : end - first * across]
    values: Raw = part.contiguous().view(torch.uint8).numpy().view(_unsigned(tensor.element_size()))
    return values


def decoded(raw: Raw, dtype: str) -> Numbers:
    """Stored elements of a floating dtype as float64, which holds each of them exactly."""
    if dtype == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    return raw.view(kinds[dtype]).astype(np.float64)
