"""The mutation benchmark names files and tests that exist."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


def test_every_file_and_its_tests_exist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "benchmarks" / "mutation"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("mutation_run", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert len(module.FILES) >= 20
    wanted = {root / "src" / "onefold" / name for name in module.FILES}
    wanted |= {root / path for name in module.FILES for path in module.tests_of(name)}
    assert sorted(str(path) for path in wanted if not path.is_file()) == []
