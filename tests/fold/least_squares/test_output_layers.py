"""Which layers are outputs, and how they aim at a pool's probabilities."""

from __future__ import annotations

import pytest
import torch
from target_networks import (
    SHAPES,
    Behind,
    Convolved,
    Dense,
    Raw,
    Two,
    inputs,
    member,
    structure,
    targets_of,
)
from torch import nn

from onefold.batches import batches
from onefold.ensemble.pool import mean_pool
from onefold.fold.least_squares.layers import find_sites
from onefold.fold.least_squares.output_layers import find_output
from onefold.fold.least_squares.targets import is_output_layer
from onefold.inference import ANY, Output


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("reference", [0, 1])
def test_the_outputs_aim_at_the_pools_probabilities_and_nothing_else_does(
    kind: type[nn.Module], reference: int
) -> None:
    networks, x, shares = [member(kind, k) for k in range(3)], inputs(kind), (0.2, 0.3, 0.5)
    (hidden, head), own = targets_of(
        networks, x, "equal", shares, pool=mean_pool(shares), reference=reference
    )
    mixed = sum(share * rows[1].softmax(1) for share, rows in zip(shares, own, strict=True)).log()
    torch.testing.assert_close(head, mixed - mixed.mean(1, keepdim=True))
    torch.testing.assert_close(
        hidden, sum(share * rows[0] for share, rows in zip(shares, own, strict=True))
    )


SHAPES |= {Dense: (100, 2, 7), Behind: (200, 4), Raw: (200, 4)}


@pytest.mark.parametrize(
    ("kind", "whole"), [(Dense, ["head"]), (Behind, []), (Two, ["head"]), (Raw, ["head"])]
)
def test_only_what_is_returned_class_by_class_is_mixed(
    kind: type[nn.Module], whole: list[str]
) -> None:
    traced, spec = structure(kind)
    sites, _ = find_sites(traced, spec, member(kind).state_dict())
    output = Output(class_axis=1) if kind is Dense else Output(0) if kind is Raw else ANY
    put = find_output(traced, member(kind).state_dict(), list(batches([inputs(kind)])), output)
    assert [
        site.layers[0].weight.removesuffix(".weight")
        for site in sites
        if is_output_layer(put, spec, site)
    ] == whole
    if not whole:
        networks, shares = [member(kind, k) for k in range(2)], (0.25, 0.75)
        (_, head), own = targets_of(networks, inputs(kind), "equal", shares, pool=mean_pool(shares))
        torch.testing.assert_close(head, 0.25 * own[0][1] + 0.75 * own[1][1])
