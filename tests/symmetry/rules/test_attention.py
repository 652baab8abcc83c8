"""Groups of attention: heads, segments of fused weights, grouped queries."""

from __future__ import annotations

import pytest
import symmetry_zoo as zoo
import torch
from proved_specs import groups_of, proved

from onefold.symmetry.axes import Live, Prod, Sum

EVERY = {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"}
ROTATIONS = {"permutation", "sign", "orthogonal", "orthogonal_mean"}


@pytest.mark.slow
def test_each_head_has_a_map_of_queries_and_keys_and_one_of_values_and_output() -> None:
    spec = proved(zoo.EinsumAttention(), torch.randn(2, 5, 6))
    (heads,) = groups_of(spec, "q", 1)
    (scores,) = groups_of(spec, "q", 2)
    (values,) = groups_of(spec, "v", 2)
    assert (heads.size, heads.maps) == (3, {"permutation"})
    assert (scores.size, scores.maps, scores.over) == (4, EVERY, (heads.name,))
    assert (values.size, values.maps, values.over) == (4, EVERY, (heads.name,))
    assert {(slot.tensor, slot.role) for slot in scores.slots} == {
        ("q", "producer"),
        ("k", "consumer"),
    }  # keys take the inverse transpose
    assert {(slot.tensor, slot.role) for slot in values.slots} == {
        ("v", "producer"),
        ("out", "consumer"),
    }


def test_a_fused_weight_holds_queries_keys_and_values_as_segments_of_heads_times_size() -> None:
    spec = proved(zoo.Decoder(), zoo.tokens())
    rows = spec.axes["blocks.0.fused.weight"][0]
    assert isinstance(rows, Sum)
    assert [type(part) for part in rows.parts] == [Prod] * 3
    assert (
        rows.parts[0] == rows.parts[1] != rows.parts[2]
    )  # queries and keys take one map, values another
    (scores,) = [group for group in spec.groups if Live(group.name, 4) == rows.parts[0].parts[1]]
    assert scores.maps == ROTATIONS  # one weight makes both, and cannot take a map and its inverse
    assert rows.parts[0].parts[0] == rows.parts[2].parts[0]  # the heads are the same
    assert ("head.weight", "table.weight") in spec.tied or (
        "table.weight",
        "head.weight",
    ) in spec.tied
    assert spec.axes["head.weight"] == spec.axes["table.weight"]
    stream = groups_of(spec, "places.weight", 1)[0]
    assert "permutation" in stream.maps
    assert not {"scale", "invertible"} & stream.maps  # the tied head takes what the table gives


@pytest.mark.slow
@pytest.mark.parametrize("gqa", [True, False])
def test_grouped_queries_move_with_their_keys_and_rotary_axes_stay(gqa: bool) -> None:
    spec = proved(zoo.Grouped(gqa), zoo.tokens())
    (keys,) = groups_of(spec, "k.weight", 0)
    assert keys.size == 2  # groups of heads; the size of a head is held by the rotation
    queries = {group.name: group for group in groups_of(spec, "q.weight", 0)}
    assert keys.name in queries
    (repeats,) = [group for name, group in queries.items() if name != keys.name]
    assert (repeats.size, repeats.over) == (
        3,
        (keys.name,),
    )  # the queries of one group change places among themselves
    assert {group.size for group in groups_of(spec, "v.weight", 0)} == {2, 4}
    assert keys.name in {group.name for group in groups_of(spec, "out.weight", 1)}


def test_experts_change_places_and_each_has_maps_of_its_own() -> None:
    spec = proved(zoo.Experts(), torch.randn(2, 4, 6))
    (experts,) = groups_of(spec, "up", 0)
    (hidden,) = groups_of(spec, "up", 2)
    assert (experts.size, hidden.size, hidden.over) == (4, 12, (experts.name,))
    assert {"permutation", "scale"} <= hidden.maps
