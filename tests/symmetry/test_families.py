"""What each family of operators says about its axes: the groups of attention, recurrent nets,
einsum and the rest, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.symmetry import (
    SymmetrySpec,
    apply_maps,
    features,
    find_symmetries,
    trace,
    verify_symmetries,
)
from onefold.symmetry.axes import Case, Group, Live, Prod, Sum
from onefold.symmetry.drawing import random_map
from onefold.symmetry.rules.einsum import letters

EVERY = {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"}
ROTATIONS = {"permutation", "sign", "orthogonal", "orthogonal_mean"}


def proved(model: nn.Module, inputs: Any) -> SymmetrySpec:
    spec = find_symmetries(model, inputs)
    proof = verify_symmetries(spec, model, inputs)
    assert proof.passed, str(proof)
    assert spec.unknown == {}
    return spec


def groups_of(spec: SymmetrySpec, tensor: str, axis: int) -> list[Group]:
    """The groups on one axis of a tensor, in order of their names."""
    return [
        group
        for group in spec.groups
        if any((slot.tensor, slot.axis) == (tensor, axis) for slot in group.slots)
    ]


def test_attention_has_one_map_per_head_between_queries_and_keys_and_one_between_values_and_the_output() -> (
    None
):
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


def test_a_norm_without_a_scale_of_its_own_lets_the_whole_stream_rotate() -> None:
    plain, scaled = (
        groups_of(find_symmetries(zoo.Grouped(affine=affine), zoo.tokens()), "table.weight", 1)[0]
        for affine in (False, True)
    )
    assert plain.maps == ROTATIONS
    assert scaled.maps == {"permutation", "sign"}


class Written(nn.Module):
    """A norm written out, as many networks have it."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 6), nn.Linear(6, 3), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x)))


WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], set[str]]] = {
    "mean of squares": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        ROTATIONS,
    ),
    "square": (lambda x: x / torch.sqrt(torch.square(x).sum(-1, keepdim=True) + 1e-6), ROTATIONS),
    "length": (lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-6), ROTATIONS),
    "normalize": (lambda x: F.normalize(x, dim=-1), ROTATIONS),
    "sum of absolute values": (lambda x: x / x.norm(p=1, dim=-1, keepdim=True), {"permutation"}),
    "in float32": (
        lambda x: (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(
            x.dtype
        ),
        ROTATIONS,
    ),
    "layer norm": (
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt(),
        {"permutation", "orthogonal_mean"},
    ),
    "squares that are read": (lambda x: x.pow(2), {"permutation"}),
    "squares summed over the batch": (lambda x: x * x.pow(2).sum(0, keepdim=True), {"permutation"}),
    "cubes": (lambda x: x * x.pow(3).mean(-1, keepdim=True), {"permutation"}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_norms_written_out_allow_what_they_keep(name: str) -> None:
    function, classes = WRITTEN[name]
    assert groups_of(proved(Written(function), torch.randn(3, 4)), "b.weight", 1)[0].maps == classes


def test_the_gates_of_a_recurrent_net_move_together() -> None:
    spec = proved(zoo.Recurrent("LSTM"), zoo.tokens())
    (state,) = groups_of(spec, "net.weight_hh_l0", 1)
    assert spec.axes["net.weight_hh_l0"][0] == Sum((spec.axes["net.weight_hh_l0"][1],) * 4)
    assert {(slot.tensor, slot.axis) for slot in state.slots} == {
        ("net.weight_ih_l0", 0),
        ("net.weight_hh_l0", 0),
        ("net.weight_hh_l0", 1),
        ("net.bias_ih_l0", 0),
        ("net.bias_hh_l0", 0),
        ("head.weight", 1),
    }
    assert state.maps == {"permutation"}


def test_plain_recurrent_nets_take_the_maps_of_their_nonlinearity() -> None:
    tanh, relu = (
        proved(zoo.Recurrent("RNN", nonlinearity=kind), zoo.tokens()) for kind in ("tanh", "relu")
    )
    assert groups_of(tanh, "net.weight_hh_l0", 1)[0].maps == {"permutation", "sign"}
    assert groups_of(relu, "net.weight_hh_l0", 1)[0].maps == {"permutation", "scale"}


def test_directions_and_layers_move_on_their_own_unless_one_weight_reads_them_all() -> None:
    spec = proved(zoo.Recurrent("LSTM", num_layers=2, bidirectional=True), zoo.tokens())
    names = [f"net.weight_hh_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse")]
    assert len({groups_of(spec, name, 1)[0].name for name in names}) == 4
    spec = proved(
        zoo.Recurrent("GRU", "states", num_layers=3), zoo.tokens()
    )  # the mean over the layers' last states
    assert len({groups_of(spec, f"net.weight_hh_l{layer}", 1)[0].name for layer in range(3)}) == 1


def test_a_projected_state_takes_every_map_and_its_cell_permutations() -> None:
    spec = proved(zoo.Recurrent("LSTM", proj_size=5), zoo.tokens())
    assert groups_of(spec, "net.weight_hr_l0", 0)[0].maps == EVERY
    assert groups_of(spec, "net.weight_hr_l0", 1)[0].maps == {"permutation"}


def test_a_given_first_state_holds_the_state_in_place_and_a_learned_one_moves_along() -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 2)
            self.start = nn.Parameter(torch.randn(1, 1, 6))

        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            return self.head(
                self.net(x, self.start.expand(-1, x.shape[0], -1).contiguous() if h is None else h)[
                    0
                ]
            )

    x = torch.randn(3, 5, 4)
    (state,) = groups_of(proved(Given(), x), "net.weight_hh_l0", 1)
    assert ("start", 2) in {(slot.tensor, slot.axis) for slot in state.slots}
    assert (
        groups_of(proved(Given(), ((x, torch.randn(1, 3, 6)), None)), "net.weight_hh_l0", 1) == []
    )


def test_features_are_read_out_of_stacked_states() -> None:
    """Every probe of every group shows its features, also the last states of all layers at once."""
    model, x = zoo.Stacked().eval(), zoo.tokens()
    traced = trace(model, (x,))
    spec = find_symmetries(model, x, traced=traced)
    maps = {
        group.name: random_map(group.size, (), "permutation", torch.Generator().manual_seed(k))
        for k, group in enumerate(spec.groups)
    }
    states = [model.state_dict(), apply_maps(model.state_dict(), spec, maps)]
    seen: dict[str, list[Tensor]] = {}
    probes = {probe.node for group in spec.groups for probe in group.probes}
    traced.replay(
        states,
        (x,),
        visit=lambda name, values: seen.update({name: [v.clone() for v in values]}) or None,
        nodes=probes,
    )
    assert any(isinstance(term, Case) for node in probes for term in spec.nodes[node])
    for group in spec.groups:
        assert (
            any(probe.kind == "post" for probe in group.probes) or group.size == 8
        )  # the table of tokens has no nonlinearity
        for probe in group.probes:
            before, after = (
                features(value, spec.nodes[probe.node], group) for value in seen[probe.node]
            )
            torch.testing.assert_close(
                after, before[:, maps[group.name].forward], rtol=1e-5, atol=1e-6
            )


def test_letters_of_einsum() -> None:
    assert letters("ij,jk", [2, 2]) == (["ij", "jk"], "ik")
    assert letters("b i, b i ->", [2, 2]) == (["bi", "bi"], "")
    operands, result = letters("...ld,...sd->...ls", [4, 4])
    assert [len(own) for own in operands] == [4, 4]
    assert operands[0][:2] == operands[1][:2] == result[:2]
    operands, result = letters("...c,cd", [3, 2])
    assert (len(operands[0]), len(result), result[-1]) == (3, 3, "d")


SHAPED: dict[str, tuple[Callable[[Tensor], Tensor], int, bool]] = {
    "chunked and gated": (lambda x: torch.mul(*x.chunk(2, -1)), 6, True),
    "glu": (F.glu, 6, True),
    "split unevenly": (lambda x: torch.cat([x[..., :4].relu(), x[..., 4:].tanh()], -1), 12, True),
    "an empty slice": (lambda x: torch.cat([x[..., 12:], x], -1), 12, True),
    "unbound": (lambda x: sum(x.view(-1, 3, 4).unbind(1)), 4, True),
    "selected": (lambda x: x.view(-1, 3, 4)[:, 1] + x.view(-1, 3, 4)[:, 2].sigmoid(), 4, True),
    "stacked": (lambda x: torch.stack([x, x.relu()], 1).amax(1), 12, True),
    "repeated": (lambda x: x.repeat(1, 2), 24, True),
    "repeated in place": (lambda x: x.repeat_interleave(2, 1), 24, True),
    "expanded": (lambda x: x.unsqueeze(1).expand(-1, 3, -1).flatten(1), 36, True),
    "shuffled": (lambda x: x.view(-1, 3, 4).transpose(1, 2).reshape(-1, 12), 12, True),
    "pixels shuffled": (lambda x: F.pixel_shuffle(x.view(-1, 12, 1, 1), 2).flatten(1), 12, True),
    "rolled": (lambda x: x.roll(1, -1), 12, False),
    "flipped": (lambda x: x.flip(-1), 12, False),
    "every second": (lambda x: x[:, ::2], 6, False),
    "problem": (lambda x: x[:, [3, 1, 2]], 3, False),
    "cumulated": (lambda x: x.cumsum(-1), 12, False),
    "windows": (lambda x: x.unfold(1, 4, 4).flatten(1), 12, False),
    "patches": (lambda x: F.unfold(x.view(-1, 3, 2, 2), 2).flatten(1), 12, True),
}


@pytest.mark.parametrize("name", SHAPED)
def test_operators_of_shape(name: str) -> None:
    function, width, moves = SHAPED[name]

    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 12), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(function(self.a(x)))

    spec = proved(Shaped(), torch.randn(3, 4))
    assert bool(spec.groups) == moves, str(spec)


def test_an_inner_product_of_two_towers_lets_their_common_space_rotate() -> None:
    spec = proved(zoo.Contrastive(), ((torch.randn(2, 1, 8, 8), zoo.tokens()), None))
    (common,) = groups_of(spec, "text.weight", 0)
    assert {slot.tensor for slot in common.slots} == {"text.weight", "image.3.weight"}
    assert {"permutation", "sign", "orthogonal"} <= common.maps


def test_features_of_the_other_parity_are_no_probes() -> None:
    spec = proved(zoo.EinsumAttention(), torch.randn(2, 5, 6))
    (scores,) = groups_of(spec, "q", 2)
    assert {probe.node for probe in scores.probes} >= {"einsum"}  # the queries
    assert not {probe.node for probe in scores.probes} & {"einsum_1"}  # the keys
    assert not scores.dense


class Products(nn.Module):
    """Inner products of features whose parities do or do not work out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a, self.b, self.c, self.kind = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), kind

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.a(x), self.b(x), self.c(x)
        if self.kind == "two":
            return a @ b.t()
        if self.kind == "with a number":
            return (3 * a) @ torch.cat([b, b]).t()
        if self.kind == "triangle":  # a against b, b against c, c against a: no parities
            return a @ b.t() + b @ c.t() + c @ a.t()
        if self.kind == "itself":
            return a @ a.t()
        if self.kind == "sum":
            return (a + b) @ c.t()
        return (a @ b.t()) + (a + b) @ c.t()  # a and b on one side, and on both


@pytest.mark.parametrize("kind", ["two", "with a number", "triangle", "itself", "sum", "both"])
def test_parities_of_inner_products(kind: str) -> None:
    spec = proved(Products(kind), torch.randn(3, 4))
    maps = groups_of(spec, "a.weight", 0)[0].maps
    assert maps == (ROTATIONS if kind in ("triangle", "itself", "both") else EVERY)


def test_what_is_mixed_along_an_index_moves_alike_at_all_of_its_values() -> None:
    """Operators that keep the axis which they mix along: the parts stacked on it, or the heads on
    it, may not move on their own.
    """

    class Mixed(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.a, self.b, self.head, self.function = (
                nn.Linear(4, 6),
                nn.Linear(4, 6),
                nn.Linear(12, 2),
                function,
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.function(torch.stack([self.a(x), self.b(x)], 1)).flatten(1))

    mixing = [
        lambda x: x.softmax(1),
        lambda x: F.layer_norm(x.transpose(1, 2), (2,)).transpose(1, 2),
        lambda x: x.cumsum(1),
        lambda x: x.flip(1),
    ]
    mixing += [
        lambda x: F.group_norm(x.transpose(1, 2).flatten(1), 6).unflatten(1, (6, 2)).transpose(1, 2)
    ]
    for function in mixing:
        groups = [
            group for group in proved(Mixed(function), torch.randn(3, 4)).groups if group.size > 2
        ]
        assert len(groups) <= 1
    assert (
        len(
            [
                group
                for group in proved(Mixed(torch.relu), torch.randn(3, 4)).groups
                if group.size == 6
            ]
        )
        == 2
    )


def test_experts_change_places_and_each_has_maps_of_its_own() -> None:
    spec = proved(zoo.Experts(), torch.randn(2, 4, 6))
    (experts,) = groups_of(spec, "up", 0)
    (hidden,) = groups_of(spec, "up", 2)
    assert (experts.size, hidden.size, hidden.over) == (4, 12, (experts.name,))
    assert {"permutation", "scale"} <= hidden.maps


def test_the_meta_device_gives_the_same_spec() -> None:
    with torch.device("meta"):
        hollow, tokens = zoo.Grouped(), torch.zeros(2, 7, dtype=torch.int64)
    assert all(parameter.is_meta for parameter in hollow.parameters())
    assert find_symmetries(hollow, tokens) == find_symmetries(zoo.Grouped(), zoo.tokens())


def test_a_wrong_class_of_maps_is_refuted() -> None:
    """Negative control of the proof of dense classes: a ReLU's features, said to rotate."""
    import dataclasses

    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    for kind in ("sign", "orthogonal", "orthogonal_mean", "invertible"):
        wrong = dataclasses.replace(
            spec,
            groups=(dataclasses.replace(spec.groups[0], maps=frozenset({"permutation", kind})),),
        )
        proof = verify_symmetries(wrong, model, x)
        assert not proof.passed, kind
        assert proof.max_error > 1e-3, kind


def test_a_tensor_without_effect_is_no_control() -> None:
    model = zoo.Encoder()
    proof = verify_symmetries(
        find_symmetries(model, torch.randn(2, 4, 5)), model, torch.randn(2, 4, 5), seed=3
    )
    assert proof.passed, str(proof)
