"""The members' weights in the common basis, each computed when it is asked for.

So only one of members on disk is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from torch import Tensor, nn

from onefold.alignment import Alignment


class MappedStates(Sequence[dict[str, Tensor]]):
    """The members' state dicts, `states[k]` mapped by the alignment if there is one.

    Nothing is cached, so asking twice costs twice.

    Args:
        models: the members.
        alignment: the maps; None for the members as they are.
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
