"""Runs in segments halt at the same node whatever the size of the inputs."""

from __future__ import annotations

import pytest
import torch
from corner_networks import Counted, Tiled
from torch import Tensor, nn

from onefold.batches import batches
from onefold.symmetry import trace
from onefold.symmetry.segments import SegmentedRun


class Started(nn.Module):
    """A recurrent layer with a given first state, whose size the trace reads from the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.layer = (
            nn.Linear(5, 6),
            nn.Linear(5, 6),
            nn.RNN(6, 4, batch_first=True),
        )
        self.head, self.tail = nn.Linear(6, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.shape[0], 4)
        return self.head(self.a(x).tanh()) + self.tail(self.layer(self.b(x), start)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Started, Tiled, Counted])
def test_a_segmented_run_halts_at_the_same_node_whatever_the_size(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    data = [torch.randn(8, 4, 5), torch.randn(8, 6, 5), torch.randn(8, 4, 5)]
    traced = trace(model, (data[0],))
    state = model.state_dict()
    run = SegmentedRun(traced, state, list(batches(data)))
    layers = [n for n in traced.graph.nodes if "linear" in str(n.target)]
    for layer in layers:
        source = layer.args[0].name
        run.before(layer.name)
        for x, found in zip(data, run.values(source), strict=True):
            seen: list[Tensor] = []
            traced.replay(
                [state], (x,), visit=lambda _, v, s=seen: s.append(v[0].clone()), nodes=[source]
            )
            assert torch.equal(found, seen[0])
    with torch.no_grad():
        for x, found in zip(data, run.finish(), strict=True):
            torch.testing.assert_close(found, model(x))
