"""Checkpoints that hold quantised numbers are refused: their tensors cannot be averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onefold.errors import WeightsError
from onefold.weights.folders import CURE

MARKS = {
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".weight_zero_point": "compressed-tensors",
    ".weight_global_scale": "compressed-tensors",
    ".weight_scale_2": "modelopt",
    ".scale_weight": "fp8",
    "_scale_inv": "fp8",
    ".weight_scale": "fp8",
}  # the end of a tensor's name -> the format that has such tensors


def check_not_quantised(path: Path, names: Iterable[str], config: Mapping[str, Any]) -> None:
    """Refuse a quantised checkpoint.

    Args:
        path: the checkpoint.
        names: the names of its tensors.
        config: the content of config.json.

    Raises:
        WeightsError: it is quantised; the message says by what.
    """
    told = config.get("quantization_config")
    if isinstance(told, Mapping):
        kind = str(told.get("quant_method") or "a method that its config names")[:40]
        raise WeightsError(f"{path} is quantised by {kind}; {CURE}.")
    for name in names:
        for end, kind in MARKS.items():
            if name.endswith(end):
                raise WeightsError(f"{path} is quantised ({kind}: it holds '{name}'); {CURE}.")


def check_dtypes(path: Path, dtypes: Mapping[str, str]) -> None:
    """Refuse tensors of 8-bit floats, which mean nothing without their scales.

    Raises:
        WeightsError: there is one.
    """
    for name, dtype in dtypes.items():
        if dtype.startswith("float8"):
            raise WeightsError(f"{path} holds '{name}' in {dtype}, which is quantised; {CURE}.")
