"""Merges beside recorded facts of what mergekit 0.1.5 writes for the same documents and models.

The facts are made by `python -m benchmarks.checkpoints.differential.run --record`. The models are
drawn from hashes of names, so that they are the same bits on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.checkpoints.differential.carrying_out import Task, run_onefold, write_models
from benchmarks.checkpoints.differential.comparing import stored
from benchmarks.checkpoints.differential.configurations import CONFIGURATIONS
from benchmarks.checkpoints.differential.recording import CHOSEN, changes, facts_of
from onefold.checkpoints.methods import methods

RECORDED = json.loads((Path(__file__).parent / "recorded" / "mergekit.json").read_text())
OUTPUTS: dict[str, dict[str, Any]] = RECORDED["outputs"]
EXACT = [name for name in OUTPUTS if not CONFIGURATIONS[name].random]
RANDOM = [name for name in OUTPUTS if CONFIGURATIONS[name].random]
PRECISION = {"float32": 1e-6, "bfloat16": 2**-7}  # of the greatest value; of each value
FAR = 4.5  # standard errors


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tiny models that are needed."""
    root = tmp_path_factory.mktemp("models")
    write_models(root, [CONFIGURATIONS[name] for name in OUTPUTS])
    return root


def merged(models: Path, out: Path, name: str) -> dict[str, torch.Tensor]:
    one = CONFIGURATIONS[name]
    problem, _ = run_onefold(Task(models / one.models, one.text, out))
    assert not problem
    return stored(out)


def far(name: str, values: torch.Tensor, told: list[Any]) -> str:
    """What of a tensor is not as it was recorded; empty if nothing is."""
    dtype, shape, total, norm, digits = facts_of(name, values)
    if [dtype, shape] != told[:2]:
        return f"{name} is {dtype} {shape}, not {told[:2]}"
    found, wanted = (
        np.frombuffer(bytes.fromhex(text), ">f4").astype(float) for text in (digits, told[4])
    )
    precision, greatest = PRECISION[dtype], float(values.double().abs().max())
    limit = precision * (greatest if dtype == "float32" else np.abs(wanted))
    if (np.abs(found - wanted) > limit).any():
        return f"{name} has {found}, not {wanted}"
    root = values.numel() ** 0.5  # of as many roundings, most cancel in a sum
    if abs(total - told[2]) > 4 * precision * greatest * root:
        return f"{name} sums to {total}, not {told[2]}"
    if abs(norm - told[3]) > precision * told[3]:
        return f"{name} has the norm {norm}, not {told[3]}"
    return ""


@pytest.mark.parametrize("name", EXACT)
def test_a_merge_is_what_mergekit_writes(models: Path, tmp_path: Path, name: str) -> None:
    found, told = merged(models, tmp_path / "out", name), OUTPUTS[name]
    assert sorted(found) == sorted(told)
    assert [wrong for key, values in found.items() if (wrong := far(key, values, told[key]))] == []


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_merge_is_distributed_as_that_of_mergekit(
    models: Path, tmp_path: Path, name: str
) -> None:
    found, told = merged(models, tmp_path / "out", name), OUTPUTS[name]
    assert sorted(found) == told["tensors"]
    base = stored(models / CONFIGURATIONS[name].models / "base")
    for key, one in changes(found, base).items():
        value, error = one
        wanted, its_error = told[key]
        assert abs(value - wanted) < FAR * (error**2 + its_error**2) ** 0.5, key


def test_every_method_of_mergekit_is_recorded() -> None:
    assert set(OUTPUTS) == set(CHOSEN)
    recorded = {CONFIGURATIONS[name].method for name in OUTPUTS}
    own = {"magmax", "tsv_m", "iso_c", "iso_cts", "swudi"}
    assert len(recorded) == 20
    assert recorded | own <= set(methods.names())


@pytest.mark.parametrize("dtype", list(PRECISION))
def test_a_small_change_is_noticed(dtype: str) -> None:
    values = torch.linspace(-1.0, 1.0, 96).to(getattr(torch, dtype))
    told = facts_of("w", values)
    assert not far("w", values, told)
    assert far("w", values * (1 + 4 * PRECISION[dtype]), told)
    assert far("w", values.flip(0), told)
    assert far("v", values, told)  # other places
    assert far("w", values.double(), told)
