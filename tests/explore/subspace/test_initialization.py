"""Vertices are drawn as the network's own constructor draws them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import SubspaceError
from onefold.explore.subspace.initialization import initial_tensors, other_starts, own_initializers
from onefold.explore.subspace.parametrize import find_parameters


class Scale(nn.Module):
    """Owns a parameter that torch does not initialise."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Plain(nn.Module):
    """Two layers, and a scale if asked for."""

    def __init__(self, scale: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)
        self.scale = Scale() if scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.scale(torch.relu(self.first(x))))


def draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.uniform_(module.weight, 7, 8)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Scale):
        nn.init.uniform_(module.scale, 7, 8)


class Whole(Plain):
    def init_weights(self, factor: float = 1.0) -> None:
        self.apply(draw)


class ByModule(Plain):
    def _init_weights(self, module: nn.Module) -> None:
        draw(module)


class ByModuleInPublic(Plain):
    def init_weights(self, m: nn.Module) -> None:
        draw(m)


class Static(Plain):
    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        draw(module)


class Both(Whole):
    def _init_weights(self, module: nn.Module) -> None:
        raise AssertionError("the whole one counts")


OWN: dict[str, Callable[[], nn.Module]] = {
    "init_weights()": lambda: Whole(True),
    "_init_weights(module)": lambda: ByModule(True),
    "init_weights(module)": lambda: ByModuleInPublic(True),
    "a static method": lambda: Static(True),
    "both": lambda: Both(True),
    "below others": lambda: nn.Sequential(nn.Identity(), nn.Sequential(Whole(True)), nn.ReLU()),
    "two of them": lambda: nn.Sequential(Whole(True), nn.Linear(3, 6), ByModule(True)),
}


def drawn(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    refs = find_parameters(network, None, None)
    values = initial_tensors(network, refs, None, seed)
    return {ref.name: value for ref, value in zip(refs, values, strict=True)}


@pytest.mark.parametrize("kind", OWN)
def test_the_network_s_own_initialisation_counts(kind: str) -> None:
    network = OWN[kind]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    values = drawn(network)
    assert any("first.weight" in name for name in values)
    for name, value in values.items():
        if "first" in name or "second" in name or "scale" in name:
            assert (value == 0).all() if "bias" in name else ((value >= 7) & (value <= 8)).all()
        else:
            assert value.abs().max() < 1  # torch's, of a layer beside
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    again, other = drawn(network), drawn(network, 1)
    assert all(torch.equal(value, again[name]) for name, value in values.items())
    assert any(not torch.equal(value, other[name]) for name, value in values.items())


def test_the_vertices_of_a_subspace_and_a_grown_one() -> None:
    space = onefold.Subspace(Whole(True), "line")
    assert space.vertices[0].get_parameter("first.weight").max() < 7
    assert space.vertices[1].get_parameter("first.weight").min() >= 7
    assert space.grow().vertices[2].get_parameter("scale.scale").min() >= 7


def test_what_is_no_initialisation_is_passed_over() -> None:
    network = Plain()
    network.init_weights = True  # type: ignore[assignment]
    network._init_weights = nn.Identity()
    assert not list(own_initializers(network))
    network.init_weights = lambda a, b: None  # type: ignore[assignment]
    assert not list(own_initializers(network))
    assert drawn(network)["first.weight"].abs().max() < 1


@pytest.mark.parametrize("scale", [Scale, lambda: nn.Sequential(Scale(), Scale())])
def test_what_nothing_initialises_is_named(scale: Callable[[], nn.Module]) -> None:
    class Forgets(Plain):
        def _init_weights(self, module: nn.Module) -> None:
            if isinstance(module, nn.Linear):
                draw(module)

    network = Forgets()
    network.scale = scale()
    with pytest.raises(SubspaceError, match=r"'scale.*', a Scale, owns scale.* pass init="):
        onefold.Subspace(network)
    assert onefold.Subspace(network, exclude=["scale*"]).vertices is not None


def test_an_initialisation_that_fails_is_told() -> None:
    class Fails(Plain):
        def init_weights(self) -> None:
            raise KeyError("mode\nof it")

    with pytest.raises(SubspaceError, match=r"Fails cannot initialise its weights by itself \("):
        onefold.Subspace(Fails())


def config(kind: str, spread: float) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    small: dict[str, Any] = {"vocab_size": 50, "initializer_range": spread}
    if kind.startswith("GPT2"):
        return transformers.GPT2Config(n_embd=48, n_layer=2, n_head=2, **small)
    wide = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind.startswith("Llama"):
        return transformers.LlamaConfig(intermediate_size=96, **wide, **small)
    return transformers.BertConfig(intermediate_size=96, **wide, **small)


@pytest.mark.parametrize(
    ("kind", "spread"),
    [
        ("GPT2LMHeadModel", 0.3),
        ("GPT2Model", 0.003),
        ("LlamaForCausalLM", 0.2),
        ("BertForSequenceClassification", 0.1),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_networks_of_transformers_have_their_own_range(
    kind: str, spread: float, inside: bool
) -> None:
    settings = config(kind, spread)
    import transformers

    torch.manual_seed(0)
    network = getattr(transformers, kind)(settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(9.0)  # as if trained
    values = drawn(nn.ModuleDict({"inner": network}) if inside else network)
    torch.manual_seed(1)
    fresh = dict(getattr(transformers, kind)(settings).named_parameters())
    assert len(values) == len(fresh)
    for name, value in values.items():
        like = fresh[name.removeprefix("inner.")]
        if value.dim() > 1:
            assert not torch.equal(value, like)
            assert 0.8 < float(value.std() / like.std()) < 1.25, name
        else:
            assert torch.equal(value, like), name
    weights = [v for n, v in values.items() if v.dim() > 1 and "c_proj" not in n]
    assert all(0.85 * spread < float(weight.std()) < 1.15 * spread for weight in weights)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224"])
def test_networks_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    small = {"img_size": 32} if "vit" in name else {"img_size": 64}

    def build() -> nn.Module:
        made: nn.Module = timm.create_model(name, num_classes=10, **small)
        return made

    torch.manual_seed(0)
    network = build()
    values, fresh = drawn(network), dict(build().named_parameters())
    for key, value in values.items():
        if value.dim() > 1 and fresh[key].std() > 1e-5:
            assert 0.7 < float(value.std() / fresh[key].std()) < 1.4, key


@pytest.mark.parametrize("count", [1, 2, 3])
def test_other_starts_are_drawn_one_after_the_other(count: int) -> None:
    def factory() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    torch.manual_seed(1)
    model = factory()
    starts = other_starts(model, find_parameters(model, None, None), factory, count)
    weights = [model[0].weight, *(start[0].weight for start in starts if start is not None)]
    assert len(starts) == count
    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == count + 1


def test_a_start_of_the_same_weights_is_none_and_constants_do_not_count() -> None:
    pretrained = nn.Linear(3, 2)

    def same() -> nn.Module:
        return copy.deepcopy(pretrained)

    def zeros() -> nn.Module:
        network = nn.Linear(3, 2)
        nn.init.zeros_(network.weight)
        return network

    refs = find_parameters(pretrained, None, None)
    assert other_starts(pretrained, refs, same, 2) == [None, None]
    assert None not in other_starts(zeros(), refs, zeros, 2)
