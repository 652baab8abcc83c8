"""The members' weights in the common basis, each made when it is asked for: of members on disk only
one is then in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from torch import Tensor, nn

from onefold.alignment import Alignment


class MappedStates(Sequence[dict[str, Tensor]]):
    """`states[k]` is the state dict of member k, mapped by `alignment` where there is one.

    Nothing is kept, so asking twice costs twice.
    """

    def __init__(self, models: Sequence[nn.Module], alignment: Alignment | None) -> None:
        self._models, self._alignment = models, alignment

    def __len__(self) -> int:
        return len(self._models)

    @overload
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Tensor]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        k = range(len(self))[index]
        state = self._models[k].state_dict()
        return state if self._alignment is None else self._alignment.apply_to_state(state, k)
