"""Members in small files: weights as whole numbers of 8 bits with one scale for each output
channel.

A weight w of channel c is stored as q = round(w / s_c), where s_c = max |w| / 127 over the channel.
Vectors (biases, norms and their statistics) stay in float32. The stored network is the member:
every accuracy that is listed is that of the network read back. float16 would take twice the room,
and all members together would not fit into the repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SCALE = ".scale"


def compressed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict, every float matrix as int8 and a scale (channels,) `<name>.scale`."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if not value.is_floating_point() or value.dim() < 2:
            result[name] = value.detach().clone()
            continue
        flat = value.detach().double().flatten(1)
        scale = (flat.abs().amax(1) / 127).clamp_min(1e-30).float()
        rounded = (flat / scale.double()[:, None]).round().to(torch.int8)
        result[name], result[name + SCALE] = rounded.reshape(value.shape), scale
    return result


def expanded(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 state dict that `compressed` was given, up to rounding."""
    result = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        if (scale := stored.get(name + SCALE)) is not None:
            value = value.float() * scale.reshape(-1, *[1] * (value.dim() - 1))
        result[name] = value
    return result


def store(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict in the small form, in full or not at all."""
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in compressed(state).items()}, part)
    part.replace(path)


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict that `store` wrote."""
    return expanded(load_file(path))
