"""Tensors of files, mapped into memory: a value is read when it is used, and nothing is copied."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from onefold.checkpoints.engine.dequantising import dequantised
from onefold.checkpoints.layouts import Held
from onefold.errors import WeightsError
from onefold.weights.torch_state import read_torch_state


class Inputs:
    """The files of all models. Several threads may ask at a time."""

    def __init__(self) -> None:
        self._mapped: dict[Path, Tensor] = {}
        self._states: dict[Path, Mapping[str, Tensor]] = {}
        self._lock = threading.Lock()

    def tensor(self, held: Held) -> Tensor:
        """A tensor, (...) in its stored dtype; never to be modified.

        Args:
            held: where it is.

        Raises:
            WeightsError: its file changed since it was looked at.
        """
        if held.scaled is not None:
            scale = self.tensor(held.scaled.scale)
            return dequantised(self.tensor(held.stored), scale, held.scaled.shared)
        if held.begin is None:
            tensor = self._state(held.file)[held.key or held.name]
            return tensor.detach().contiguous()
        values, dtype = self._file(held.file), getattr(torch, held.dtype)
        end = held.begin + held.nbytes
        if end > len(values):
            raise WeightsError(f"{held.file} became shorter; was it changed meanwhile?")
        part = values[held.begin : end]
        if held.begin % dtype.itemsize:  # numbers cannot begin there
            part = part.clone()
        return part.view(dtype).view(held.shape)

    def _file(self, path: Path) -> Tensor:
        with self._lock:
            if path not in self._mapped:
                try:
                    size = os.path.getsize(path)
                    storage = torch.UntypedStorage.from_file(os.fspath(path), False, size)
                except (OSError, RuntimeError) as error:
                    raise WeightsError(
                        f"{path} cannot be read ({str(error)[:100]}); was it changed meanwhile?"
                    ) from error
                self._mapped[path] = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[arg-type]
            return self._mapped[path]

    def _state(self, path: Path) -> Mapping[str, Tensor]:
        with self._lock:
            if path not in self._states:
                self._states[path] = read_torch_state([path], None, [])[0]
            return self._states[path]
