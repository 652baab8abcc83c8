"""Every promise names a test that is there, and the page's figures are those of the results."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "evidence" / "reliability.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
PROMISED = [
    " ".join(item.split()) for item in re.split(r"\n+- |\n\n", TEXT.split("\n## Kills\n")[0])
]
PROMISES = re.findall(
    r"^([A-Z].*?) Test: `(tests/[\w/.]+)`(?:, `(\w+)`)?\.$", "\n".join(PROMISED), re.MULTILINE
)


def test_every_promise_names_a_test_that_is_there() -> None:
    assert len(PROMISES) == TEXT.count(" `tests/") > 10
    assert all("Test:" not in promise for promise, _, _ in PROMISES)
    for promise, file, function in PROMISES:
        path = ROOT / file
        assert path.is_file(), promise
        if function:
            assert f"def {function}(" in path.read_text(), promise


def test_the_figures_of_the_prose() -> None:
    recipes = json.loads((RESULTS / "fuzz" / "recipes.json").read_text())
    assert f"Another {recipes['files']:,} spoiled recipes" in " ".join(TEXT.split())
    mutants = [
        each["ending"]
        for own in json.loads((RESULTS / "mutation" / "results.json").read_text()).values()
        for each in own["mutants"].values()
    ]
    noticed = sum(ending != "passed" for ending in mutants)
    attacks = " ".join((ROOT / "docs" / "evidence" / "attacks.md").read_text().split())
    assert f"notice {noticed} of {len(mutants)} wrong lines" in attacks
