"""A network run in float64 throughout, also if it casts to a narrower type itself.

Norms and softmaxes often do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_NARROW = (torch.float32, torch.float16, torch.bfloat16)


class Widening(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, every operator that is asked for a narrower floating type gives float64."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.view.dtype:  # the same bits read as another type
            return func(*args, **(kwargs or {}))
        args, kwargs = pytree.tree_map_only(torch.dtype, _wide, (tuple(args), dict(kwargs or {})))
        return func(*args, **kwargs)


def _wide(dtype: torch.dtype) -> torch.dtype:
    if dtype in (torch.complex64, torch.complex32):
        return torch.complex128
    return torch.float64 if dtype in _NARROW else dtype
