"""A few of the kills of benchmarks/reliability, of one command."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import onefold
from onefold.sources import build_model

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reliability" / "kills.py"


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("name", ["merge"])
def test_a_killed_command_leaves_nothing_half_and_says_nothing_false(
    kills: ModuleType, name: str, tmp_path: Path
) -> None:
    for seed, file in enumerate(kills.FILES):
        torch.manual_seed(seed)
        onefold.save(build_model("digits?width=4"), tmp_path / file)
    found = kills.measure(name, 2, tmp_path, seed=1, at_events=False)
    assert found["trials"] == 2
    assert found["faults"] == []
