"""A state dict that stays on disk. One tensor is read at a time, so that many members fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from onefold.errors import WeightsError
from onefold.weights.header import Stored


class LazyState(Mapping[str, Tensor]):
    """Names to tensors in one or several safetensors files.

    `state[name]` reads that tensor (on the CPU). `shape(name)` reads nothing. The headers must have
    been checked before (`header.read_header`).

    Args:
        places: name -> (file, name in that file, its header entry).
    """

    def __init__(self, places: Mapping[str, tuple[Path, str, Stored]]) -> None:
        self._places = dict(places)
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        path, stored_name, _ = self._places[name]
        try:
            tensor: Tensor = self._file(path).get_tensor(stored_name)
        # The file changed or vanished since its header was checked. The library has no common error
        # class.
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:150]
            raise WeightsError(
                f"{path} cannot be read ({reason}); was it changed meanwhile, or is it damaged?"
            ) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        files = len({path for path, _, _ in self._places.values()})
        return f"LazyState({len(self)} tensors in {files} file{'s' * (files != 1)})"

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from the header."""
        return self._places[name][2].shape

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._places[name][0]

    def renamed(self, names: Mapping[str, str]) -> LazyState:
        """The same tensors under other names: `names` maps each new name to an old one."""
        return LazyState({new: self._places[old] for new, old in names.items()})

    def _file(self, path: Path) -> Any:
        if path not in self._open:
            from safetensors import safe_open

            self._open[path] = safe_open(path, framework="pt", device="cpu")
        return self._open[path]
