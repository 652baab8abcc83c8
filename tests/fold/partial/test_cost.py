"""Costs of partial merges are those that a hand counts."""

from __future__ import annotations

from partial_chains import chains
from small_networks import loader

import onefold

DATA = [(x.double(), y) for x, y in loader()]


def test_costs_are_what_a_hand_counts() -> None:
    models = chains(2)
    costs = onefold.partial_merge(models, DATA, until="3", align="permutation").report.costs
    trunk = 6 * 9 + 6 + 8 * 6 * 9 + 8
    rest = 12 * 32 + 12 + 4 * 12 + 4
    assert (costs.one.parameters, costs.partial.parameters, costs.ensemble.parameters) == (
        trunk + rest,
        trunk + 2 * rest,
        2 * (trunk + rest),
    )
    sums, behind = 64 * 6 * 9 + 64 * 8 * 6 * 9, 12 * 32 + 4 * 12
    assert (costs.one.multiply_adds, costs.partial.multiply_adds) == (
        sums + behind,
        sums + 2 * behind,
    )
    assert costs.ensemble.multiply_adds == 2 * costs.one.multiply_adds
