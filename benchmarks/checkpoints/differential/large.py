"""One tensor of a usual size, 1024 x 1024, merged by every method that leaves nothing to chance.

Sums over a million elements lose digits that sums over a thousand keep. Both sides are compared
with mergekit in float64, to tell whose digits are lost.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.checkpoints.differential.comparing import relative_difference
from benchmarks.checkpoints.differential.models import draws
from onefold.checkpoints import merge_states
from onefold.checkpoints.methods import methods
from onefold.checkpoints.methods.base import method_of

DRIVER = Path(__file__).with_name("mergekit_tensors.py")
SIDE, RELATIVE = 1024, 1e-6
MODELS = ("first", "second", "third")
SUMS = "mergekit's sums over the whole tensor lose digits in float32; onefold's do not."
SAMPLED = (
    "Of more than a million elements mergekit draws a sample for the quartiles;"
    " of fewer both agree."
)


@dataclass(frozen=True)
class Case:
    """One merge.

    Attributes:
        method: its method.
        count: number of models.
        base: whether there is a base.
        parameters: of the method, and of models as a list of as many values.
        rows: how many rows of the tensors are merged.
    """

    method: str
    count: int
    base: bool
    parameters: dict[str, Any]
    rows: int = SIDE

    @property
    def inputs(self) -> list[str]:
        """The names of all inputs, the base as the last one."""
        return [*MODELS[: self.count], *(["base"] if self.base else [])]


WEIGHTS = {"weight": [0.5, 0.3, 0.2]}
CASES = {
    "linear": Case("linear", 3, False, WEIGHTS),
    "slerp": Case("slerp", 1, True, {"t": 0.4}),
    "nuslerp": Case("nuslerp", 2, True, {"weight": [0.5, 0.3]}),
    "multislerp": Case("multislerp", 3, False, WEIGHTS),
    "multislerp of task vectors": Case("multislerp", 3, True, WEIGHTS),
    "karcher": Case("karcher", 3, False, {}),
    "passthrough": Case("passthrough", 1, False, {"scale": [0.7]}),
    "task_arithmetic": Case("task_arithmetic", 3, True, WEIGHTS),
    "ties": Case("ties", 3, True, {**WEIGHTS, "density": [0.3, 0.2, 0.5], "rescale": True}),
    "dare_ties of all": Case("dare_ties", 3, True, WEIGHTS),
    "dare_linear of all": Case("dare_linear", 3, True, WEIGHTS),
    "della of all": Case("della", 3, True, WEIGHTS),
    "della_linear of all": Case("della_linear", 3, True, WEIGHTS),
    "breadcrumbs": Case("breadcrumbs", 3, True, {**WEIGHTS, "density": [0.6, 0.5, 0.9]}),
    "breadcrumbs_ties": Case("breadcrumbs_ties", 3, True, {**WEIGHTS, "density": [0.6] * 3}),
    "model_stock": Case("model_stock", 3, True, {}),
    "sce": Case("sce", 3, True, {"select_topk": 0.2}),
    "nearswap": Case("nearswap", 1, True, {"t": 0.001}),
    "arcee_fusion": Case("arcee_fusion", 1, True, {}),
    "arcee_fusion of fewer": Case("arcee_fusion", 1, True, {}, 900),
    "ram": Case("ram", 3, True, {}),
    "ramplus_tl": Case("ramplus_tl", 3, True, {"epsilon": 0.01, "alpha": 5.0}),
}


@dataclass(frozen=True)
class Large:
    """What came of one merge.

    Attributes:
        name: of the case.
        relative: the greatest difference of both sides over the greatest value.
        onefold: the same between onefold and mergekit in float64.
        mergekit: the same between mergekit in float32 and in float64.
        apart: number of elements of both sides that differ by more than 1e-6.
        reason: of a difference; None: there is none; empty: it is not explained.
    """

    name: str
    relative: float
    onefold: float
    mergekit: float
    apart: int
    reason: str | None

    def told(self) -> dict[str, Any]:
        """As plain data, of two digits."""
        shown = asdict(self)
        return {k: float(f"{v:.2g}") if isinstance(v, float) else v for k, v in shown.items()}


def tensors() -> dict[str, Tensor]:
    """The base and three models of growing distance from it."""
    base = draws("large/base", SIDE * SIDE) * 0.1
    found = {"base": base}
    for i, name in enumerate(MODELS, 1):
        found[name] = base + draws(f"large/{name}", SIDE * SIDE) * 0.01 * i
    return {
        name: torch.from_numpy(values.astype(np.float32)).reshape(SIDE, SIDE)
        for name, values in found.items()
    }


def measure(python: str, scratch: Path) -> list[Large]:
    """Merge with both sides.

    Args:
        python: the interpreter of mergekit's environment.
        scratch: a folder for files.
    """
    given = tensors()
    tasks, inputs, outputs = (scratch / f"large-{name}" for name in ("tasks", "in", "out"))
    save_file(given, inputs)
    tasks.write_text(json.dumps([_task(name, case) for name, case in CASES.items()]))
    command = [python, str(DRIVER), str(tasks), str(inputs), str(outputs)]
    subprocess.run(command, check=True, capture_output=True)
    found = load_file(outputs)
    return [
        _judged(name, merged(case, given), found[f"{name} float32"], found[f"{name} float64"])
        for name, case in CASES.items()
    ]


def _task(name: str, case: Case) -> dict[str, Any]:
    values = {
        key: dict(zip(MODELS, value, strict=False)) if isinstance(value, list) else value
        for key, value in case.parameters.items()
    }
    base = case.count if case.base else None
    told = {"name": name, "method": case.method, "inputs": case.inputs}
    return {**told, "base": base, "parameters": values, "rows": case.rows}


def merged(case: Case, given: dict[str, Tensor]) -> Tensor:
    """The tensor that onefold makes."""
    own = {one.name for one in methods.get(case.method).per_model}
    method = method_of(case.method, {k: v for k, v in case.parameters.items() if k not in own})
    states = {name: {"w": given[name][: case.rows]} for name in case.inputs}
    base = states.pop("base", None)
    values = {k: v for k, v in case.parameters.items() if k in own}
    return merge_states(states, method, base, values)["w"]


def _judged(name: str, ours: Tensor, theirs: Tensor, exact: Tensor) -> Large:
    relative = relative_difference(ours, theirs)
    onefold, mergekit = (relative_difference(one, exact) for one in (ours, theirs))
    apart = int(((ours - theirs).abs() > RELATIVE * theirs.abs().max()).sum())
    reason = None
    if relative > RELATIVE:
        reason = SAMPLED if name == "arcee_fusion" else SUMS if onefold <= RELATIVE else ""
    return Large(name, relative, onefold, mergekit, apart, reason)
