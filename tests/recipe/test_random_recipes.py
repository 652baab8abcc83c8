"""Spoiled recipes end in one sentence or in a valid recipe (benchmarks/fuzz has thousands)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from random_recipes import KINDS, METHODS, Spoiled, files, verdict

PARTS = 10
FILES = 230
SMALL = 20_000  # bytes; larger files take long to read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the file that the recipes load."""
    (tmp_path / METHODS).write_text("")
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_recipe_is_valid(folder: Path, kind: str) -> None:
    text = yaml.safe_dump(KINDS[kind][1])
    found = verdict(Spoiled(0, kind, (), text.encode()), folder)
    assert (found.message, found.fault) == (None, "")


@pytest.mark.parametrize("part", range(PARTS))
def test_a_spoiled_recipe_is_one_sentence_or_valid(folder: Path, part: int) -> None:
    make = files()
    made = [make(number) for number in range(part, FILES, PARTS)]
    spoiled = [one for one in made if len(one.content) < SMALL]
    faults = {one.number: found.fault for one in spoiled if (found := verdict(one, folder)).fault}
    assert faults == {}


def test_the_files_are_spoiled_in_all_ways() -> None:
    make = files()
    made = [make(number) for number in range(FILES)]
    how = {word for one in made for word in one.how}
    assert sum(len(one.content) < SMALL for one in made) > 200
    assert {"a line twice", "aliases of aliases", "merges of merges", "two documents"} <= how
    assert {"UTF-16", "changed bytes", "no document", "many keys"} <= how
