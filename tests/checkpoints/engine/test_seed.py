"""The seed of random masks: given, it is recorded; left out, nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fine_tunes import linear, moved, put, ties, written
from tiny_checkpoints import document, stored

import onefold
from onefold.checkpoints import merge_states
from onefold.checkpoints.engine.doubts import DoubtfulSetting
from onefold.checkpoints.methods import method_of
from onefold.errors import SettingError

NAME = "layers.0.w.weight"


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    base = {NAME: torch.randn(16, 16, generator=torch.Generator().manual_seed(0))}
    return [put(tmp_path / n, moved(base, i)) for i, n in enumerate(("base", "one", "two"))]


def merged(paths: list[str], out: Path, method: str = "dare_linear", **more: Any) -> Any:
    content = ties(paths) | {"merge_method": method}
    return onefold.merge_checkpoints(document(content), out, **more)


def test_a_seed_that_is_given_draws_other_masks_and_is_recorded(
    tmp_path: Path, paths: list[str]
) -> None:
    plain = merged(paths, tmp_path / "plain")
    zero = merged(paths, tmp_path / "zero", seed=0)
    three = merged(paths, tmp_path / "three", seed=3)
    again = merged(paths, tmp_path / "again", seed=3, threads=2)
    states = [stored(made.path)[NAME] for made in (plain, zero, three, again)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert torch.equal(states[2], states[3])
    assert (plain.seed, zero.seed, three.seed) == (None, 0, 3)
    note = "Random masks are drawn by the seed 3."
    assert note in three.notes
    assert note in (three.path / "README.md").read_text()
    records = [json.loads((one.path / "onefold_merge.json").read_text()) for one in (plain, three)]
    assert "seed" not in records[0]
    assert records[1]["seed"] == 3


def test_it_is_the_seed_of_state_dicts(tmp_path: Path, paths: list[str]) -> None:
    made = merged(paths, tmp_path / "out", seed=5)
    base, *others = [stored(Path(path)) for path in paths]
    expected = merge_states(
        {"one": others[0], "two": others[1]},
        method_of("dare_linear"),
        base,
        parameters={"weight": 1.0, "density": 0.5},
        seed=5,
    )
    torch.testing.assert_close(stored(made.path)[NAME], expected[NAME])


def test_a_seed_without_an_effect_is_told(tmp_path: Path, paths: list[str]) -> None:
    with pytest.warns(DoubtfulSetting, match="The seed has no effect, as ties draws nothing"):
        made = merged(paths, tmp_path / "out", "ties", seed=3, dry_run=True)
    assert made.seed is None


@pytest.mark.parametrize("seed", [-1, 1.5, True, "3"])
def test_what_is_no_seed_is_refused(tmp_path: Path, paths: list[str], seed: Any) -> None:
    with pytest.raises(SettingError, match="seed is"):
        merged(paths, tmp_path / "out", seed=seed)


def test_the_seed_is_of_all_documents(tmp_path: Path, paths: list[str]) -> None:
    first = ties(paths[:2]) | {"merge_method": "dare_linear", "name": "first"}
    last = linear(["first", paths[2]])
    documents = written(tmp_path / "c.yml", first, last)
    made = onefold.merge_checkpoints(documents, tmp_path / "out", seed=3)
    assert made.before[0].seed == 3
    assert made.seed is None
    assert not any("no effect" in note for note in made.notes)
