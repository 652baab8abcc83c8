"""Merges, gates, ensembles, comparisons and commands say once that a network was given twice."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from small_networks import Plain, loader, trained
from torch import nn

import onefold as of
from onefold.errors import RepeatedMembers
from onefold.explore import measure_pairs
from onefold.fold import SoftMerge, fit_gates, merge
from onefold.measure import evaluate_all

DATA = loader(64)
ONE = "members 0 and 2 are one and the same object, which counts it twice and gains nothing"
EQUAL = "members 0 and 2 hold the same weights, which counts it twice and gains nothing"


@pytest.fixture(scope="module")
def pair() -> list[nn.Module]:
    return [trained(Plain, 0, steps=8), trained(Plain, 1, steps=8)]


def test_a_merge_and_its_report_say_it(pair: list[nn.Module]) -> None:
    assert (
        EQUAL
        in merge(
            [*pair, copy.deepcopy(pair[0])], align="none", repair="none", fold="average"
        ).report.warnings
    )
    assert ONE in merge([*pair, pair[0]], DATA, align="permutation", fold="average").report.warnings
    assert not any(
        "gains nothing" in w
        for w in merge(pair, align="none", repair="none", fold="average").report.warnings
    )


@pytest.mark.parametrize("level", ["model", "layer"])
def test_gates_say_it(pair: list[nn.Module], level: str) -> None:
    result = fit_gates(
        SoftMerge([*pair, copy.deepcopy(pair[0])], level, align="none"), DATA, steps=2
    )
    assert EQUAL in result.notes
    assert EQUAL in str(result)


@pytest.mark.parametrize("call", [of.evaluate, evaluate_all, of.class_pool])
def test_ensembles_and_pools_warn(pair: list[nn.Module], call: Callable) -> None:
    with pytest.warns(RepeatedMembers, match="Members 0 and 2 hold the same weights"):
        call([*pair, copy.deepcopy(pair[0])], DATA)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(pair, DATA)
        of.evaluate(pair[0], DATA)


def test_compared_networks_carry_the_note(pair: list[nn.Module]) -> None:
    found = measure_pairs([*pair, copy.deepcopy(pair[0])], DATA, align=False, points=3)
    assert "Members 0 and 2 hold the same weights" in found.note
    assert found.note in str(found)
    assert measure_pairs(pair, DATA, align=False, points=3).note == ""


def test_commands_say_it_once(onefold: Callable, members: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "again.safetensors"
    link.symlink_to(members[0])
    data = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "100"]
    merged = onefold(
        "merge",
        *members[:2],
        link,
        *data,
        "--align",
        "none",
        "--repair",
        "none",
        "-o",
        tmp_path / "f.safetensors",
        "--eval-split",
        "test",
    )
    assert merged.status == 0, merged.err
    assert merged.err.count("gains nothing") == 1
    evaluated = onefold("eval", *members[:2], link, *data)
    assert evaluated.status == 0, evaluated.err
    assert evaluated.err.count("gains nothing") == 1
    assert "RepeatedMembers" not in merged.err + evaluated.err
