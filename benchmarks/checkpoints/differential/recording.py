"""Compact facts of mergekit's outputs, with which tests compare onefold without mergekit.

Of every tensor: its dtype, shape, the sum of its elements, their norm, and the values at places
that follow from its name. Of random methods, whose elements are no facts: the share that changed,
and the mean magnitude and square of the changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.checkpoints.differential.comparing import stored
from benchmarks.checkpoints.differential.configurations import Configuration

VALUES = 6
# Every method, and features of documents.
CHOSEN = (
    *("linear of three", "slerp with gradients by filter", "nuslerp of task vectors by rows"),
    *("nuslerp by columns", "multislerp of task vectors", "karcher"),
    *("passthrough scaled by filter", "slerp between models close together"),
    *("task arithmetic, normalized", "ties with gradients", "ties rescaled"),
    *("dare_linear of all", "dare_ties of all, normalized", "della of all", "della_linear of all"),
    *("breadcrumbs of almost all", "breadcrumbs_ties", "model_stock by rows", "sce"),
    *("model_stock of small changes",),
    *("sce of small changes", "nearswap", "arcee_fusion", "ram of large changes", "ramplus_tl"),
    *("parameters at every level", "layers of other numbers merged", "slerp, the base added"),
    *("linear of three, bfloat16", "bfloat16 asked of float32"),
    *("dare_linear of one", "dare_ties", "della_linear", "della"),
)


def recorded(chosen: list[Configuration], tasks: Any, problems: dict[Path, str]) -> dict[str, Any]:
    """The facts of the outputs of mergekit that tests compare with."""
    found = {}
    for one in chosen:
        if one.name in CHOSEN:
            plain = tasks[one.name]["plain"]
            assert not problems[plain.out], problems[plain.out]
            base = stored(plain.folder / "base") if one.random else None
            found[one.name] = facts(stored(plain.out), base)
    return {"outputs": found}


def text_of(content: dict[str, Any]) -> str:
    """JSON with one line for each tensor."""
    text = json.dumps(content, separators=(",", ":"))
    return re.sub(r'(\],|\{)(?="[a-zA-Z])', r"\1\n", text) + "\n"


def facts(state: dict[str, Tensor], base: dict[str, Tensor] | None = None) -> dict[str, Any]:
    """The facts of one output. base: given for random methods, of which changes are told."""
    if base is not None:
        return {"tensors": sorted(state), **changes(state, base)}
    return {name: facts_of(name, values) for name, values in sorted(state.items())}


def changes(state: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, list[float]]:
    """Means over all elements with their standard errors: changed at all, by how much, squared."""
    apart = torch.cat([(state[n].double() - base[n].double()).flatten() for n in sorted(state)])
    kinds = {"share": (apart != 0).double(), "magnitude": apart.abs(), "square": apart.square()}
    return {
        name: [float(f"{float(x):.9g}") for x in (v.mean(), v.std() / len(v) ** 0.5)]
        for name, v in kinds.items()
    }


def facts_of(name: str, values: Tensor) -> list[Any]:
    """Dtype, shape, sum, norm and values, which are float32 numbers as 8 hexadecimal digits."""
    flat = values.double().flatten()
    chosen = flat[places(name, flat.numel())].float()
    digits = chosen.numpy().astype(">f4").tobytes().hex()
    dtype = str(values.dtype).removeprefix("torch.")
    sums = [float(f"{float(number):.9g}") for number in (flat.sum(), flat.norm())]
    return [dtype, list(values.shape), *sums, digits]


def places(name: str, numel: int) -> list[int]:
    """The places of the values, by the tensor's name."""
    drawn = hashlib.shake_256(name.encode()).digest(4 * VALUES)
    return [int.from_bytes(drawn[i : i + 4], "big") % numel for i in range(0, 4 * VALUES, 4)]
