"""Networks of every family: narrower ones are slices, wider ones compute the same, all are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from symmetry_builders import NETWORKS as OTHERS
from symmetry_builders import Network
from symmetry_language_builders import LANGUAGE_NETWORKS
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from width_slices import half_the_units, heads_and_features, random_units, sliced

import onefold
from onefold.errors import WidthsError
from onefold.symmetry import SymmetrySpec, example_batch, find_symmetries, trace
from onefold.symmetry.widening import Widening
from onefold.weights.resized import mark_of
from onefold.widths import widening_changes

NETWORKS = OTHERS | LANGUAGE_NETWORKS
# Networks whose groups can all have any width.
FREE = [
    *("mlp", "linear autoencoder", "lstm", "lstm with projection", "gru", "gru in layers"),
    *("tanh rnn", "relu rnn", "grouped queries", "grouped queries, repeated keys"),
    *("grouped queries, plain norms", "einsum attention", "mixer", "u-net, batch norm"),
    *("convolutional autoencoder", "dilated convolutions", "siamese", "contrastive"),
    *("many inputs and outputs", "super resolution", "mixture of experts"),
    *("torchvision resnet50", "torchvision wide_resnet", "torchvision densenet"),
    *("torchvision squeezenet", "torchvision convnext", "timm convnext", "timm mlp mixer"),
    *("timm resmlp", "timm gmlp", "torchvision resnet18"),
]
# Networks in which half of everything fits: the channels in a group of a norm or of a convolution
# divide, or torch's attention takes as much as its heads have together.
HALVES = ["u-net, group norm", "squeeze, excite, shuffle", "torchvision resnext", "timm se resnet"]
# Networks that take as many features as their heads have together, and keep their heads here.
HEADED = [
    *("transformer encoder", "transformer encoder, norm first", "transformer"),
    *("decoder with tied head", "torchvision vit", "timm vit", "timm deit distilled"),
    *("transformers vit", "transformers distilbert", "transformers albert", "transformers gpt2"),
]
# Networks with a width of heads written into their code.
WRITTEN = ["matmul attention", "kept bias", "shifted windows", "timm beit", "transformers llama"]


def test_there_are_enough() -> None:
    assert len(FREE + HALVES + HEADED) >= 45


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE + HALVES + HEADED)
def test_a_network_of_other_widths(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    model, inputs = network.model.eval(), network.inputs
    batch = example_batch(inputs)
    traced = trace(model, batch.args, batch.kwargs)
    spec = find_symmetries(model, traced=traced)
    kept = units_of(name, model, spec)
    small = onefold.resize(model, spec, kept, example_inputs=inputs if is_proved(name) else None)
    kept = {k: list(range(n)) for k, n in mark_of(small)["widths"].items()} | kept
    own = small.state_dict()
    for tensor, cut in sliced(model, spec, kept).items():
        np.testing.assert_array_equal(own[tensor].numpy(), cut, tensor)
    check_training(small, inputs)
    check_files(name, small, inputs, tmp_path)
    if name in (FREE + HALVES + HEADED)[::6]:
        exported = torch.export.export(small.eval(), batch.args, batch.kwargs).module()
        assert distance(exported(*batch.args, **batch.kwargs), outputs(small, inputs)) < 1e-4
        found = {group.name: group.size for group in find_symmetries(small, inputs).groups}
        assert found == {g.name: len(kept.get(g.name, range(g.size))) for g in spec.groups}
    check_wider(name, network, spec, widening_changes(model, spec, traced=traced))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_a_width_in_the_code_is_refused_by_name(name: str) -> None:
    """Features that heads sum stay, as the code has one number for them and for what stays."""
    network = NETWORKS[name]()
    spec = find_symmetries(network.model, network.inputs)
    feature = sorted(heads_and_features(spec)[1])[-1]
    with pytest.raises(WidthsError, match=f"cannot run with another width of groups? .*{feature}"):
        onefold.resize(network.model, spec, {feature: 2}, example_inputs=network.inputs)


def is_proved(name: str) -> bool:
    """Whether sizes need example inputs to be found; for some others too (a benchmark: for all)."""
    return name not in FREE or name in FREE[::4] or name == "convolutional autoencoder"


def units_of(name: str, model: nn.Module, spec: SymmetrySpec) -> dict[str, list[int]]:
    if name in FREE:
        return random_units(model, spec, 1)
    if name not in HEADED:
        return half_the_units(spec, 1)
    heads, features = heads_and_features(spec)
    if any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
        odd = {head for head in heads if spec.group(head).size % 2}
        return half_the_units(spec, 1, odd | features)  # features follow by themselves
    return half_the_units(spec, 1, heads)


def check_training(model: nn.Module, inputs: Any) -> None:
    """A step changes the network, and every parameter that the loss depends on has its shape."""
    batch = example_batch(inputs)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    loss = sum((x.float() - 1).square().mean() for x in outputs(model.train(), inputs))
    loss.backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    model.zero_grad()
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())
    assert batch.args or batch.kwargs


def check_files(name: str, model: nn.Module, inputs: Any, folder: Path) -> None:
    file = onefold.save(model, folder / "small.safetensors")
    again = onefold.load_resized(lambda: NETWORKS[name]().model, file)
    with torch.no_grad():
        assert distance(outputs(again.eval(), inputs), outputs(model.eval(), inputs)) == 0


def check_wider(name: str, network: Network, spec: SymmetrySpec, changing: dict[str, str]) -> None:
    """One more unit of every group that no norm, mean or attention runs over changes nothing."""
    model = network.model.double()
    heads, features = heads_and_features(spec) if name not in FREE else (set(), set())
    wider = {
        group.name: group.size + 1
        for group in spec.groups
        if group.name not in {*changing, *heads, *features}
    }
    proved = name in (*FREE[::8], *HALVES, "convolutional autoencoder")
    proved_by = doubled(network.inputs) if proved else None
    wide = onefold.resize(model, spec, wider, example_inputs=proved_by)
    with torch.no_grad(), Widening():
        plain = outputs(model, doubled(network.inputs))
        found = outputs(wide, doubled(network.inputs))
    assert distance(found, plain) < 1e-10, (wider, changing)


def doubled(inputs: Any) -> Any:
    def wide(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    return pytree.tree_map(wide, inputs)


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    batch = example_batch(inputs)
    returned = model(*batch.args, **batch.kwargs)
    leaves = [x for x in pytree.tree_leaves(returned) if isinstance(x, Tensor)]
    return [x for x in leaves if x.is_floating_point()]


def distance(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest value."""
    pairs = list(zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True))
    scale = max(float(y.abs().max()) for _, y in pairs)
    return max(float((x - y).abs().max()) for x, y in pairs) / max(scale, 1e-30)
