"""The mutation benchmark names files and tests that exist, and its page says what it found."""

from __future__ import annotations

import importlib.util
import json
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


def test_the_page_says_how_many_are_killed_and_every_survivor_is_explained(root: Path) -> None:
    results = json.loads((root / "benchmarks/results/mutation/results.json").read_text())
    every = [
        (name, mutant["ending"])
        for name, own in results.items()
        for mutant in own["mutants"].values()
    ]
    alive = [name for name, ending in every if ending == "passed"]
    text = " ".join((root / "docs" / "evidence" / "reliability.md").read_text().split())
    killed = len(every) - len(alive)
    assert f"{len(every)} seeded changes of the {len(results)} files" in text
    assert f"{killed} are killed ({100 * killed / len(every):.1f} %)" in text
    assert f"each of the {len(alive)} that survive" in text
    rows = (root / "benchmarks/mutation/survivors.md").read_text().splitlines()
    explained = {
        row.split("|")[1].split(",")[0].strip() for row in rows if "`" in row and "|" in row
    }
    assert explained == set(alive)
