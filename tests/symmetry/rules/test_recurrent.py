"""Groups of recurrent layers: gates, directions, layers, projections and states."""

from __future__ import annotations

import pytest
import symmetry_zoo as zoo
import torch
from proved_specs import groups_of, proved
from torch import Tensor, nn

from onefold.symmetry import apply_maps, features, find_symmetries, trace
from onefold.symmetry.axes import Case, Sum
from onefold.symmetry.drawing import random_map

EVERY = {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"}


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


@pytest.mark.slow
def test_plain_recurrent_nets_take_the_maps_of_their_nonlinearity() -> None:
    tanh, relu = (
        proved(zoo.Recurrent("RNN", nonlinearity=kind), zoo.tokens()) for kind in ("tanh", "relu")
    )
    assert groups_of(tanh, "net.weight_hh_l0", 1)[0].maps == {"permutation", "sign"}
    assert groups_of(relu, "net.weight_hh_l0", 1)[0].maps == {"permutation", "scale"}


@pytest.mark.slow
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


@pytest.mark.slow
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
