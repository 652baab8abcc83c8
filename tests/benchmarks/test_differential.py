"""The comparison with mergekit tells outputs apart that should not be equal, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.checkpoints.differential import large
from benchmarks.checkpoints.differential.carrying_out import within
from benchmarks.checkpoints.differential.comparing import compared, ulps
from benchmarks.checkpoints.differential.configurations import CONFIGURATIONS, Configuration
from benchmarks.checkpoints.differential.models import FAMILIES, MODELS, draws, state, write
from benchmarks.checkpoints.differential.random_parts import statistics
from benchmarks.checkpoints.differential.table import tables
from benchmarks.checkpoints.differential.tokens import by_token, numbers_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "checkpoints" / "differential.json"
ONE = "merge_method: dare_linear\nparameters: {weight: 1, density: 0.3, rescale: %s}\n"


def test_units_in_the_last_place_are_counted_across_zero() -> None:
    one = torch.tensor([1.0, 1.0, -1.0, 0.0, 0.0]).bfloat16()
    tiny = 2.0**-133  # the least number above 0
    other = torch.tensor([1.0, 1.0 + 2**-7, -1.0 - 2**-6, -0.0, -tiny]).bfloat16()
    assert ulps(one, other).tolist() == [0, 1, 2, 0, 1]
    found = compared({"w": one}, {"w": other})
    assert (found.elements, found.beyond, found.ulps) == (5, 1, 2)


def test_what_only_one_side_has_is_told() -> None:
    one = {"w": torch.ones(2, 3), "x": torch.ones(2), "y": torch.ones(2)}
    other = {"w": torch.ones(3, 2), "y": torch.ones(2).double() * 2, "z": torch.ones(1)}
    found = compared(one, other)
    assert (found.ours, found.theirs) == (["x"], ["z"])
    assert len(found.shapes) == len(found.dtypes) == 1
    assert (found.relative, found.where, found.apart) == (0.5, ["y"], 2)


def test_rows_are_told_by_their_tokens() -> None:
    values = torch.arange(8.0).reshape(4, 2)
    found, padding = by_token({"lm_head.weight": values}, {"a": 2, "b": 0}, ["a", "b"])
    assert found["lm_head.weight"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert padding == 2


def masked(change: torch.Tensor, seed: int, density: float, factor: float) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return change * (torch.rand(change.shape, generator=chance) < density) * factor


@pytest.mark.parametrize("rescale", [True, False])
def test_statistics_of_equal_and_of_other_chances(rescale: bool) -> None:
    base = {"w": torch.zeros(60, 50)}
    change = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))

    def side(seed: int, density: float, factor: float = 1.0) -> dict[str, torch.Tensor]:
        kept = masked(change, seed, density, factor)
        return {"w": kept * (change.abs().sum() / kept.abs().sum()) if rescale else kept}

    text = ONE % str(rescale).lower()
    every = (base, [{"w": change}])
    assert statistics(text, *every, side(1, 0.3), side(2, 0.3)).agrees
    assert not statistics(text, *every, side(1, 0.3), side(2, 0.4)).agrees
    other = {"w": side(2, 0.3)["w"] * 1.01}
    assert not statistics(text, *every, side(1, 0.3), other).agrees


def test_models_are_the_same_bits_everywhere() -> None:
    assert draws("llama/base/w", 3).tolist() == pytest.approx(
        [-0.6438781240802948, 0.5527001101364455, 0.03216249753218913], rel=1e-12
    )
    for family in FAMILIES:
        base, tuned = state(family, "base"), state(family, "a")
        assert all(
            torch.equal(base[name], values) for name, values in state(family, "base").items()
        )
        equal = sum(int((base[name] == tuned[name]).sum()) for name in base)
        assert 0.24 < equal / sum(values.numel() for values in base.values()) < 0.27


def test_transformers_and_tokenizers_read_the_models(tmp_path: Path) -> None:
    from benchmarks.checkpoints.differential.loading import transformers, unloadable

    for family in FAMILIES:
        assert unloadable(write(tmp_path / family, family, "more", "float32")) == ""
    folder = tmp_path / "llama" / "more"
    found = transformers().AutoTokenizer.from_pretrained(folder)
    assert found.get_vocab() == numbers_of(folder)


def test_a_document_asks_for_float32_within() -> None:
    one = Configuration("", "llama", "merge_method: ties\ndtype: float16\n", "bfloat16")
    assert within(one, "float32") == "merge_method: ties\ndtype: float32\nout_dtype: float16\n"


def test_the_kept_results_are_of_all_configurations_and_explained() -> None:
    content = json.loads(RESULTS.read_text())
    told = {one["name"]: one for one in content["configurations"]}
    assert set(told) == set(CONFIGURATIONS)
    assert len({one["method"] for one in told.values()}) == 20
    assert content["declared_otherwise"] == []
    assert all(reason for one in told.values() for _, reason in one["differences"])
    assert {one["name"] for one in content["large"]} == set(large.CASES)
    assert len({case.method for case in large.CASES.values()}) == 20
    assert "" not in {one["reason"] for one in content["large"]}
    assert not [line for line in tables(content) if "NOT EXPLAINED" in line]
    assert set(MODELS) > {"base", "a", "b", "c"}
