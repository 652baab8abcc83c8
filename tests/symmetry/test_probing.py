"""Features of a group, read out of a node's value."""

from __future__ import annotations

import pytest
import torch
from map_draws import all_maps
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.sources.networks import digits
from onefold.symmetry import (
    apply_maps,
    features,
    fibre_features,
    find_symmetries,
    map_features,
    trace,
)
from onefold.symmetry.axes import Case, Fixed, Group, Live, Prod, Sum
from onefold.symmetry.probing import spread


def test_features_are_rows_of_coordinates_and_views_where_memory_allows() -> None:
    group = Group("g0", 4, frozenset({"permutation"}), ())
    axes = (Fixed("f0", 2), Live("g0", 4), Fixed("f1", 3), Fixed("f2", 3))
    value = torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last)
    rows = features(value, axes, group)
    assert rows.shape == (18, 4)
    assert rows.data_ptr() == value.data_ptr()
    assert torch.equal(rows, value.permute(0, 2, 3, 1).reshape(-1, 4))
    flat = torch.randn(5, 4)
    assert features(flat, (Fixed("f0", 2), Live("g0", 4)), group).data_ptr() == flat.data_ptr()


def test_features_are_found_inside_products_and_segments() -> None:
    group = Group("g1", 3, frozenset({"permutation"}), (), over=("g0",))
    value = torch.arange(2 * 10.0).reshape(2, 10)
    axes = (Fixed("f0", 9), Sum((Fixed("f1", 4), Prod((Live("g0", 2), Live("g1", 3))))))
    rows = features(value, axes, group)
    assert torch.equal(rows, value[:, 4:].reshape(-1, 3))
    by_fibre = fibre_features(value, axes, group)
    assert by_fibre.shape == (2, 2, 3)
    assert torch.equal(by_fibre[1], value[:, 7:])
    with pytest.raises(SymmetryError, match="hold no group"):
        features(value, (Fixed("f0", 2), Fixed("f1", 10)), group)


def test_probed_features_move_with_their_group() -> None:
    """The features that a member shows after a permutation are its own, permuted: what every
    matcher relies on.
    """
    model, x = digits(6).eval(), torch.randn(3, 1, 8, 8)
    traced = trace(model, (x,))
    spec = find_symmetries(model, x, traced=traced)
    maps = all_maps(spec, "permutation")
    states = [model.state_dict(), apply_maps(model.state_dict(), spec, maps)]
    probes = {probe.node for group in spec.groups for probe in group.probes}
    seen: dict[str, list[Tensor]] = {}
    traced.replay(
        states,
        (x,),
        visit=lambda name, values: seen.update({name: [v.clone() for v in values]}) or None,
        nodes=probes,
    )
    for group in spec.groups:
        for probe in group.probes:
            axes = spec.nodes[probe.node]
            before, after = (features(value, axes, group) for value in seen[probe.node])
            torch.testing.assert_close(after, before[:, maps[group.name].forward])
            torch.testing.assert_close(
                map_features(seen[probe.node][0], axes, spec, maps), seen[probe.node][1]
            )


def test_values_are_spread_over_sums_products_and_cases() -> None:
    values = {"g0": torch.tensor([1.0, 2.0]), "g1": torch.tensor([3.0, 5.0])}
    line = Sum((Live("g0", 2), Fixed("f0", 1)))
    assert spread(line, values, 9.0).tolist() == [1.0, 2.0, 9.0]
    assert spread(Prod((Live("g0", 2), Live("g1", 2))), values, 1.0).tolist() == [3, 5, 6, 10]
    either = Case("f1", (Live("g0", 2), Live("g1", 2)))
    assert spread(either, values, 1.0).tolist() == [2.0, 3.5]  # as long as one case, not four
    numbers = {"g0": torch.arange(2)}
    away = Sum((Case("f1", (Fixed("f2", 2), Fixed("f3", 2))), Live("g0", 2)))
    assert spread(away, numbers, -1).tolist() == [-1, -1, 0, 1]
