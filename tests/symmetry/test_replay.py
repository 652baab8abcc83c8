"""A replay gives what the members give."""

from __future__ import annotations

from typing import Any

import pytest
import symmetry_networks as nets
import torch
import torch.nn.functional as F
from static_networks import Static
from torch import Tensor, nn

from onefold.errors import MembersError, TraceError
from onefold.sources.networks import digits, resnet20, vgg11
from onefold.symmetry import trace


def members(build: Any, count: int = 3) -> list[nn.Module]:
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = build().eval()
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_(0, 0.3)
        found.append(model)
    return found


CASES = {
    "digits": (lambda: digits(8), (1, 8, 8)),
    "resnet20": (lambda: resnet20(0.25), (3, 16, 16)),
    "vgg11": (lambda: vgg11(0.125), (3, 32, 32)),
    "u-net": (nets.UNet, (3, 16, 16)),
    "in place": (nets.InPlace, (5,)),
    "stacked gates": (nets.StackedGates, (5,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_replay_gives_the_bits_of_the_members(name: str, dtype: torch.dtype) -> None:
    if (name, dtype) == ("in place", torch.bfloat16):
        pytest.skip("the network's own zeros are made in the dtype of the trace")
    build, shape = CASES[name]
    models = [model.to(dtype) for model in members(build)]
    traced = trace(models[0], (torch.randn(4, *shape, dtype=dtype),))
    for count in (4, 7, 2):
        x = torch.randn(count, *shape, dtype=dtype)
        outputs = traced.replay([model.state_dict() for model in models], (x,))
        with torch.no_grad():
            assert all(
                torch.equal(out, model(x)) for out, model in zip(outputs, models, strict=True)
            )
    assert not torch.equal(outputs[0], outputs[1])
    assert not outputs[0].requires_grad


def test_a_trace_in_float32_runs_float64_members_and_channels_last_inputs() -> None:
    models = [model.double() for model in members(lambda: vgg11(0.125))]
    traced = trace(vgg11(0.125), (torch.randn(2, 3, 32, 32),))
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64).to(memory_format=torch.channels_last)
    seen = []
    outputs = traced.replay(
        [m.state_dict() for m in models],
        (x,),
        visit=lambda _, values: seen.append(values[0]),
        nodes=["conv2d"],
    )
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert all(torch.equal(out, model(x)) for out, model in zip(outputs, models, strict=True))


@pytest.mark.slow
def test_a_batch_of_one_runs_and_a_trace_of_one_is_dynamic() -> None:
    (model,) = members(lambda: resnet20(0.25), 1)
    for traced_with, run_with in ((4, 1), (1, 5)):
        traced = trace(model, (torch.randn(traced_with, 3, 16, 16),))
        x = torch.randn(run_with, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(traced.replay([model.state_dict()], (x,))[0], model(x))


def test_a_static_batch_size_is_traced_again() -> None:
    (model,) = members(Static, 1)
    traced = trace(model, (torch.randn(3, 4),))
    for count in (3, 5, 1, 5):
        x = torch.randn(count, 4)
        with torch.no_grad():
            assert torch.equal(traced.replay([model.state_dict()], (x,))[0], model(x))
    traced = trace(Static(branches=True), (torch.randn(3, 4),))
    with pytest.raises(TraceError, match="runs other operators on inputs of shape"):
        traced.replay([model.state_dict()], (torch.randn(8, 4),))


def test_visitors_see_all_members_in_graph_order_and_may_replace_values() -> None:
    models = members(lambda: digits(8))
    traced = trace(models[0], (torch.randn(2, 1, 8, 8),))
    states, x = [m.state_dict() for m in models], torch.randn(5, 1, 8, 8)
    seen: list[tuple[str, int]] = []

    def look(name: str, values: list[Tensor]) -> None:
        seen.append((name, len(values)))

    assert (
        traced.replay(
            states,
            (x,),
            visit=look,
            nodes=["relu_1", "x", "conv2d", "batch_norm_1"],
            until="relu_1",
        )
        == []
    )
    assert seen == [("x", 3), ("conv2d", 3), ("batch_norm_1", 3), ("relu_1", 3)]

    def first_for_all(_: str, values: list[Tensor]) -> list[Tensor]:
        return [values[0]] * len(values)

    outputs = traced.replay(states, (x,), visit=first_for_all, nodes=["relu_2"])
    with torch.no_grad():
        hidden = F.relu(
            models[0].conv3(
                F.relu(
                    models[0].norm2(models[0].conv2(F.relu(models[0].norm1(models[0].conv1(x)))))
                )
            )
        )
        assert torch.equal(outputs[2], models[2].head(hidden.flatten(1)))


def test_values_are_freed_after_their_last_use() -> None:
    import weakref

    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(6)]).eval()
    traced = trace(model, (torch.randn(2, 4),))
    references: list[Any] = []
    alive: list[int] = []

    def look(_: str, values: list[Tensor]) -> None:
        references.extend(weakref.ref(value) for value in values)
        alive.append(sum(reference() is not None for reference in references))

    traced.replay(
        [model.state_dict()],
        (torch.randn(2, 4),),
        visit=look,
        nodes=[f"linear{'_' + str(k) if k else ''}" for k in range(6)],
    )
    assert max(alive) <= 3


def test_inputs_and_states_are_not_written_to() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("count", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.count.add_(1)
            return self.layer(x.relu_()) + self.count

    model = Overwrites().eval()
    before, x = model.state_dict()["count"].clone(), torch.randn(3, 4)
    kept = x.clone()
    traced = trace(model, (torch.randn(2, 4),))
    states = [
        model.state_dict(),
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
    ]
    first, second = traced.replay(states, (x,))
    assert torch.equal(first, second)
    assert torch.equal(x, kept)
    assert torch.equal(states[0]["count"], before)
    assert torch.equal(states[1]["count"], before)


def test_keywords_containers_and_dict_outputs() -> None:
    model = nets.TwoOutputs().eval()
    traced = trace(model, (), {"x": torch.randn(2, 6)})
    x = torch.randn(4, 6)
    (out,) = traced.replay([model.state_dict()], (), {"x": x})
    with torch.no_grad():
        want = model(x=x)
    assert out.keys() == want.keys()
    assert all(torch.equal(out[key], want[key]) for key in want)
    with pytest.raises(TraceError, match="traced with keywords"):
        traced.replay([model.state_dict()], (x,))


def test_non_persistent_buffers_come_from_the_trace() -> None:
    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("offset", torch.arange(3.0), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.offset

    model = Offset().eval()
    x = torch.randn(2, 3)
    traced = trace(model, (x,))
    assert "offset" not in model.state_dict()
    with torch.no_grad():
        assert torch.equal(traced.replay([model.state_dict()], (x,))[0], model(x))


def test_bad_members_and_names_are_refused_in_one_sentence() -> None:
    model = digits(4).eval()
    x = torch.randn(2, 1, 8, 8)
    traced = trace(model, (x,))
    state = dict(model.state_dict())
    with pytest.raises(MembersError, match=r"head\.weight.* has shape \(3, 3\)"):
        traced.replay([{**state, "head.weight": torch.zeros(3, 3)}], (x,))
    state.pop("conv3.bias")
    with pytest.raises(MembersError, match=r"lacks 'conv3\.bias'"):
        traced.replay([state], (x,))
    with pytest.raises(TraceError, match="no node 'conv9'"):
        traced.replay([model.state_dict()], (x,), visit=lambda *_: None, nodes=["conv9"])
