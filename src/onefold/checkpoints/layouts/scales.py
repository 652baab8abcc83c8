"""8-bit floats with scales beside them, which are read as numbers: value = stored * scale.

The scale of a tensor X is X_scale or X_scale_inv (both are multiplied by), with one number for the
tensor, for each row, or for each block:

    fp8 of transformers and DeepSeek, compressed-tensors, fbgemm, modelopt as vLLM reads them

Scales of activations mean nothing for weights in other dtypes and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onefold.checkpoints.layouts.dtypes import FLOATS
from onefold.checkpoints.layouts.layout import Held, Scaled

KNOWN = ("fp8", "compressed-tensors", "fbgemm_fp8", "modelopt")  # `quant_method` of such configs
QUANTISATION = ("quantization_config", "compression_config")  # keys of configs
ENDS = ("_scale_inv", "_scale")
ACTIVATIONS = (
    ".input_scale",
    ".input_scale_ub",
    ".activation_scale",
    ".output_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
    ".prob_scale",
)  # ends of the names of scales of activations
NARROW = "float8"
BLOCK = (128, 128)  # where a config does not say it
SHOWN = 3  # names in a note


@dataclass(frozen=True)
class Scales:
    """A checkpoint whose 8-bit floats have scales.

    Attributes:
        tensors: the tensors without scales, those with scales as float32.
        config: the config without its part on quantisation.
        notes: what was decided.
    """

    tensors: Mapping[str, Held]
    config: Mapping[str, Any]
    notes: tuple[str, ...]


def with_scales(tensors: Mapping[str, Held], config: Mapping[str, Any]) -> Scales:
    """The tensors with their scales, where all of them are known; else all as it was.

    Args:
        tensors: all stored tensors.
        config: the content of config.json.
    """
    unchanged = Scales(tensors, config, ())
    narrow = [held for held in tensors.values() if _is_narrow(held)]
    told = config.get(QUANTISATION[0])
    method = told.get("quant_method") if isinstance(told, Mapping) else None
    if not narrow or (told is not None and method not in KNOWN):
        return unchanged
    block, written = _block(told), _dtype(config)
    found: dict[str, Held] = {}
    scales: set[str] = set()
    for held in narrow:
        names = [held.name + end for end in ENDS if held.name + end in tensors]
        if len(names) != 1:
            return unchanged
        scale = tensors[names[0]]
        shared = _shared(held.shape, scale.shape, block)
        if shared is None or not _is_scale(scale):
            return unchanged
        scaled = Scaled(held.dtype, scale, shared, written)
        found[held.name] = replace(held, dtype="float32", scaled=scaled)
        scales.add(names[0])
    dropped = [name for name in tensors if name.endswith(ACTIVATIONS)]
    kept = {
        name: found.get(name, held)
        for name, held in tensors.items()
        if name not in scales and name not in dropped
    }
    plain = {key: value for key, value in config.items() if key not in QUANTISATION}
    return Scales(kept, plain, _notes(narrow, written, dropped))


def _notes(narrow: Sequence[Held], written: str, dropped: Sequence[str]) -> tuple[str, ...]:
    kinds = " and ".join(sorted({held.dtype for held in narrow}))
    count = "1 tensor is" if len(narrow) == 1 else f"{len(narrow)} tensors are"
    first = (
        f"{count} stored as {kinds} with scales, merged as stored number times scale, and written"
        f" as {written} without scales unless a dtype is given."
    )
    if not dropped:
        return (first,)
    shown = ", ".join(dropped[:SHOWN]) + (", ..." if len(dropped) > SHOWN else "")
    count = "1 scale" if len(dropped) == 1 else f"{len(dropped)} scales"
    return (first, f"{count} of activations left out, as the weights are no longer 8-bit: {shown}.")


def _is_narrow(held: Held) -> bool:
    return held.dtype.startswith(NARROW) and not held.name.endswith((*ENDS, *ACTIVATIONS))


def _is_scale(held: Held) -> bool:
    """Whether a tensor can be a scale: a number, or an exponent of 2."""
    return held.dtype in FLOATS or held.dtype == "float8_e8m0fnu"


def _shared(
    shape: Sequence[int], scale: Sequence[int], block: Sequence[int]
) -> tuple[int, ...] | None:
    """How many elements along each axis share one scale; None: it cannot be told."""
    if all(size == 1 for size in scale):
        return tuple(max(1, size) for size in shape)
    if len(scale) == 1 and len(shape) > 1:  # one for each row
        scale = (*scale, *(1 for _ in shape[1:]))
    if len(scale) != len(shape):
        return None
    blocks = (*(1 for _ in shape[2:]), *block[-len(shape) :])
    found = []
    for size, count, width in zip(shape, scale, blocks, strict=True):
        if count == size:
            found.append(1)
        elif count == 1:
            found.append(size)
        elif count == -(-size // width):
            found.append(width)
        else:
            return None
    return tuple(found)


def _block(told: object) -> tuple[int, ...]:
    """The size of a block as the config says it: (rows, columns)."""
    given: object = None
    if isinstance(told, Mapping):
        given = told.get("weight_block_size")
        groups = told.get("config_groups")
        for group in groups.values() if isinstance(groups, Mapping) else ():
            weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(weights, Mapping) and weights.get("block_structure"):
                given = weights["block_structure"]
    if isinstance(given, Sequence) and len(given) == 2 and all(_whole(one) for one in given):
        return (given[0], given[1])
    return BLOCK


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _dtype(config: Mapping[str, Any]) -> str:
    """The dtype that the config says the model has; float32 if it says none."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for key in ("dtype", "torch_dtype"):
            name = str(part.get(key)).removeprefix("torch.")
            if name in FLOATS:
                return name
    return "float32"
