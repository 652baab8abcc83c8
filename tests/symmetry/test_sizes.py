"""Inputs of several sizes: a trace on another size stands for the same network where its operators
are the same.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from size_networks import NETWORKS, Deeper, Graph, Segmenter, Table, Waves, inputs, pair
from torch import Tensor, nn

from onefold import align, find_symmetries
from onefold.batches import batches
from onefold.errors import DataError, TraceError
from onefold.symmetry import segments, sizes, trace
from onefold.symmetry.axes import Fixed, Live, Prod
from onefold.symmetry.probing import part_sizes


def traced_on(network: nn.Module, item: Any) -> Any:
    batch = next(iter(batches([item])))
    return trace(network, batch.args, batch.kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_replay_gives_what_the_network_gives_at_every_size(name: str) -> None:
    models, data = pair(NETWORKS[name]), list(batches(inputs(name)))
    traced = traced_on(models[0], inputs(name)[0])
    names = {node.name for node in traced.graph.nodes if isinstance(node.meta.get("val"), Tensor)}
    names -= set(traced.state_names)
    for batch in data:
        seen: list[str] = []
        outputs = traced.replay(
            [m.state_dict() for m in models],
            batch.args,
            visit=lambda node, _, seen=seen: seen.append(node),
            nodes=names,
        )
        with torch.no_grad():
            for out, model in zip(outputs, models, strict=True):
                torch.testing.assert_close(out, model(*batch.args), rtol=1e-5, atol=1e-6)
        assert set(seen) == names


def test_an_architecture_has_one_fingerprint_whatever_the_size() -> None:
    for name in ("table", "segmenter", "waves", "patches"):
        network = pair(NETWORKS[name])[0]
        prints = {traced_on(network, item).fingerprint for item in inputs(name)}
        assert len(prints) == 1, name
    first, second = nn.Conv1d(2, 3, 3, dilation=1), nn.Conv1d(2, 3, 3, dilation=2)
    x = torch.randn(2, 2, 9)
    assert traced_on(first, x).fingerprint != traced_on(second, x).fingerprint


def test_a_spec_of_one_size_serves_data_of_others() -> None:
    models, data = pair(Table), inputs("table")
    spec = find_symmetries(models[0], torch.randint(20, (4, 12)))
    assert align(models, data, method="permutation", spec=spec).examples == 15


def test_operators_that_differ_are_refused_in_one_sentence() -> None:
    network = Deeper().eval()
    traced = trace(network, (torch.randn(4, 3, 3),))
    with pytest.raises(
        TraceError,
        match=r"Deeper runs other operators on inputs of shape \(4, 5, 3\) than on those",
    ):
        traced.replay([network.state_dict()], (torch.randn(4, 5, 3),))


class Doubles(nn.Module):
    """The same operators, and along another axis where inputs are long."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).softmax(1 if x.shape[1] > 4 else 2)


def test_axes_are_no_sizes() -> None:
    network = Doubles().eval()
    traced = trace(network, (torch.randn(2, 3, 4),))
    with pytest.raises(TraceError, match="runs other operators"):
        traced.replay([network.state_dict()], (torch.randn(2, 6, 4),))


def test_a_batch_that_the_network_cannot_take_is_to_blame_itself() -> None:
    network = Table().eval()
    traced = trace(network, (torch.randint(20, (4, 8)),))
    with pytest.raises(DataError, match=r"Table cannot run on batch 0 \(inputs \(4, 13\)"):
        traced.replay([network.state_dict()], (torch.randint(20, (4, 13)),))
    with pytest.raises(TraceError, match="traced with 1 inputs, but was given 2"):
        traced.replay([network.state_dict()], (torch.randint(20, (4, 8)), torch.zeros(3)))


def test_few_traces_serve_many_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[bool] = []
    plain = torch.export.export
    monkeypatch.setattr(
        torch.export, "export", lambda *a, **k: exported.append(True) or plain(*a, **k)
    )
    network = Table().eval()
    traced = trace(network, (torch.randint(20, (4, 8)),))
    before = len(exported)
    for length in (5, 6, 7, 9, 10, 11, 12):
        traced.replay([network.state_dict()], (torch.randint(20, (4, length)),))
    assert len(exported) == before + 1


def test_what_serves_single_sizes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "KEPT", 2)
    network = NETWORKS["gru"]().eval()
    traced = trace(network, (torch.randn(2, 2, 3),))
    for length in (3, 4, 5, 3):
        x = torch.randn(2, length, 3)
        with torch.no_grad():
            torch.testing.assert_close(traced.replay([network.state_dict()], (x,))[0], network(x))
    assert traced.plans is not None
    assert len(traced.plans.single) == 2


def test_tracing_marks_nothing_on_the_inputs_and_runs_change_no_buffers() -> None:
    class Counts(Waves):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("runs", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.runs.add_(1)
            return super().forward(x)

    network, x = Counts().eval(), torch.randn(3, 2, 9)
    known = set(vars(x))
    traced = trace(network, (x,))
    traced.replay([network.state_dict()], (torch.randn(3, 2, 12),))
    assert set(vars(x)) == known
    assert float(network.runs) == 0


def test_a_run_in_segments_halts_at_the_same_place_for_every_size() -> None:
    network = Segmenter().eval()
    data = list(batches(inputs("segmenter")))
    traced = traced_on(network, inputs("segmenter")[0])
    run = segments.SegmentedRun(traced, network.state_dict(), data)
    run.before("cat")
    fine = run.values("relu")
    run.finish()
    with torch.no_grad():
        for batch, value in zip(data, fine, strict=True):
            wanted = torch.relu(network.norm(network.fine(batch.args[0])))
            assert torch.equal(value, wanted)


def test_features_of_a_flattened_axis_follow_the_part_that_stays() -> None:
    term = Prod((Fixed("batch", 3), Live("g0", 4)))
    assert part_sizes(12, term) == [3, 4]
    assert part_sizes(20, term) == [5, 4]
    with pytest.raises(Exception, match="An axis of length 21 was traced with 3 x 4"):
        part_sizes(21, term)


def test_graphs_of_several_sizes_are_matched() -> None:
    models = pair(Graph)
    found = align(models, inputs("graph"), method="permutation")
    assert found.examples == 28
