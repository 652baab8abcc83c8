"""Identical networks, merged by options at random, are the function that they were.

A sample of what benchmarks/robustness/run.py does with 2,000 networks.
"""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from random_merges import ALIGN, EACH, FOLD, REPAIR, options_of, outcomes
from random_networks import case
from random_verdicts import fault_of

NETWORKS = 2000
SAMPLE = range(1, 6)
FOUND_WRONG = (50, 52)  # once: units of a product of groups; least squares over several sizes


@pytest.mark.slow
@pytest.mark.parametrize("number", [*SAMPLE, *FOUND_WRONG])
def test_a_merge_of_identical_networks_is_that_network(number: int) -> None:
    faults = {str(o.options): fault_of(o) for o in outcomes(case(number)) if fault_of(o)}
    assert not faults, case(number).steps


def test_every_pair_of_options_stands_often_among_the_networks() -> None:
    options = [options_of(n, k) for n in range(NETWORKS) for k in range(EACH)]
    counts = Counter(pair for own in options for pair in own.pairs())
    named = {"align": ALIGN, "fold": FOLD, "repair": REPAIR}
    for first, second in itertools.combinations(named, 2):
        for a, b in itertools.product(named[first], named[second]):
            assert counts[f"{first} {a}", f"{second} {b}"] >= 30
    assert min(counts.values()) >= 30


def test_a_number_is_one_network_with_its_data_and_options() -> None:
    for number in (3, 11):
        before = torch.get_rng_state()
        one, two = case(number), case(number)
        assert torch.equal(before, torch.get_rng_state())
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                one.network.state_dict().values(), two.network.state_dict().values(), strict=True
            )
        )
        ours, theirs = one.outputs(one.network), two.outputs(two.network)
        assert all(
            torch.equal(a, b)
            for x, y in zip(ours, theirs, strict=True)
            for a, b in zip(x, y, strict=True)
        )
        assert options_of(number, 2) == options_of(number, 2)


@pytest.mark.slow
def test_the_networks_are_of_all_kinds() -> None:
    """What users bring stands among the first sixty networks."""
    made = [case(number) for number in range(60)]
    kinds = Counter(kind for own in made for kind in own.kinds())
    wanted = {
        "parametrized",
        "a norm at several places",
        "a layer at several places",
        "complex",
        "integers",
        "masks",
        "several outputs",
        "several sizes",
        "several inputs",
        "float64",
        "frozen",
        "negative scales",
        "tied",
        "recurrent",
        "attention",
    }
    assert not {kind for kind in wanted if not kinds[kind]}, kinds
