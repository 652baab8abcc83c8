"""Dtypes as safetensors names them and as documents name them, without torch."""

from __future__ import annotations

from collections.abc import Iterable

from onefold.weights.header import ITEM_SIZES

NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}  # as a header writes them -> as torch names them
CODES = {name: code for code, name in NAMES.items()}
FLOATS = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}  # that are merged -> bytes
EXACT = {
    ("bfloat16", "float32"),
    ("float16", "float32"),
    ("bfloat16", "float64"),
    ("float16", "float64"),
    ("float32", "float64"),
}  # casts that change no value


def is_float(dtype: str) -> bool:
    """Whether tensors of a dtype, such as "bfloat16", are merged; others are copied."""
    return dtype in FLOATS


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return ITEM_SIZES[CODES[dtype]]


def promoted(dtypes: Iterable[str]) -> str:
    """What floating dtypes are promoted to, by the rules of torch.

    Args:
        dtypes: one or more.
    """
    kinds = set(dtypes)
    if len(kinds) == 1:
        return kinds.pop()
    return "float64" if "float64" in kinds else "float32"


def keeps_values(old: str, new: str) -> bool:
    """Whether a cast changes no value."""
    return old == new or (old, new) in EXACT
