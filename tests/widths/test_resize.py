"""Resized convolutional networks and perceptrons: tensors, functions, training, export, files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from width_slices import random_units, sliced

import onefold
from onefold.errors import WeightsError, WidthsError
from onefold.sources.networks import ResNet, digits, vgg11
from onefold.symmetry import find_symmetries
from onefold.weights.resized import mark_of


class OptionA(nn.Module):
    """A residual net whose shortcuts are widened with zero channels (He et al. 2016, A)."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, widths[0], 3, padding=1), nn.BatchNorm2d(widths[0])
        inputs = (widths[0], *widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, 1 if a == b else 2, 1) for a, b in zip(inputs, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths)
        self.seconds = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in widths)
        self.head = nn.Linear(widths[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for conv, norm, second in zip(self.convs, self.norms, self.seconds, strict=True):
            y = second(F.relu(norm(conv(x))))
            if y.shape[1] > x.shape[1]:
                more = y.shape[1] - x.shape[1]
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more // 2, more - more // 2))
            x = F.relu(x + y)
        return self.head(x.mean((2, 3)))


PLAIN: dict[str, Any] = {
    "digits": lambda: (digits(8), torch.randn(2, 1, 8, 8)),
    "vgg11": lambda: (vgg11(0.125, norm=True), torch.randn(2, 3, 32, 32)),
    "resnet": lambda: (ResNet((1, 1, 1), 0.5), torch.randn(2, 3, 32, 32)),
    "mlp": lambda: (nets.mlp(), torch.randn(3, 10)),
    "mobile": lambda: (nets.mobile(), torch.randn(2, 3, 16, 16)),
}


def settled(model: nn.Module) -> nn.Module:
    """The network with norms that do something, in eval mode."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("name", PLAIN)
def test_a_narrower_network_is_a_slice_of_every_tensor(name: str) -> None:
    torch.manual_seed(0)
    model, x = PLAIN[name]()
    settled(model)
    before = copy.deepcopy(model.state_dict())
    spec = find_symmetries(model, x)
    kept = random_units(model, spec, 1)
    small = onefold.resize(model, spec, kept)
    assert type(small) is type(model)
    for tensor, cut in sliced(model, spec, kept).items():
        np.testing.assert_array_equal(small.state_dict()[tensor].numpy(), cut, tensor)
    assert all(torch.equal(old, model.state_dict()[k]) for k, old in before.items())
    own = find_symmetries(small, x)
    sizes = {group.name: group.size for group in own.groups}
    assert sizes == {group.name: len(kept[group.name]) for group in spec.groups}
    assert small(x).shape == model(x).shape


@pytest.mark.parametrize("name", PLAIN)
def test_a_wider_network_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    model, x = PLAIN[name]()
    model, x = settled(model).double(), x.double()
    spec = find_symmetries(model, x)
    more = {group.name: group.size + 1 + k % 3 for k, group in enumerate(spec.groups)}
    wide = onefold.resize(model, spec, more)
    torch.testing.assert_close(wide(x), model(x), rtol=1e-10, atol=1e-12)
    own = find_symmetries(wide, x)
    assert {g.name: g.size for g in own.groups} == more
    narrow = onefold.resize(wide, own, {g.name: g.size for g in spec.groups})
    for tensor, value in model.state_dict().items():
        assert torch.equal(narrow.state_dict()[tensor], value), tensor


def test_removing_dead_units_keeps_the_function() -> None:
    """Units whose consumers are zero are removed without a change of the function."""
    model = nets.mlp().double()
    x = torch.randn(3, 10, dtype=torch.float64)
    with torch.no_grad():
        model[2].weight[:, 4:] = 0
    spec = find_symmetries(model, x)
    small = onefold.resize(model, spec, {"g0": 4})
    assert small[0].out_features == small[2].in_features == 4
    torch.testing.assert_close(small(x), model(x))
    wrong = onefold.resize(model, spec, {"g0": [15, 14, 13, 12]})  # the negative control
    assert float((wrong(x) - model(x)).detach().abs().max()) > 1e-3


def test_sizes_of_modules_follow() -> None:
    model = nets.mobile()
    spec = find_symmetries(model, torch.randn(2, 3, 16, 16))
    small = onefold.resize(model, spec, {group.name: group.size - 1 for group in spec.groups})
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            assert tuple(module.weight.shape[:2]) == (
                module.out_channels,
                module.in_channels // module.groups,
            )
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.running_mean)
    depthwise = [m for m in small.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert depthwise
    assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)


def test_it_trains_exports_and_is_saved(tmp_path: Path) -> None:
    model, x = PLAIN["vgg11"]()
    spec = find_symmetries(model, x)
    small = onefold.resize(model, spec, dict.fromkeys(["g0", "g3"], 5), example_inputs=x)
    optimizer = torch.optim.SGD(small.train().parameters(), 0.1)
    before = small.features[0].weight.detach().clone()
    small(x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(small.features[0].weight, before)
    small.eval()
    torch.testing.assert_close(torch.export.export(small, (x,)).module()(x), small(x))
    file = onefold.save(small, tmp_path / "small.safetensors")
    again = onefold.load_resized(lambda: vgg11(0.125, norm=True), file)
    assert torch.equal(again.eval()(x), small(x))
    assert repr(again) == repr(small)
    twice = onefold.load_resized(
        lambda: vgg11(0.125, norm=True), onefold.save(again, tmp_path / "again.pt")
    )
    assert torch.equal(twice.eval()(x), small(x))


def test_resizing_twice_is_saved_as_well(tmp_path: Path) -> None:
    x = torch.randn(3, 10)
    model = nets.mlp()
    first = onefold.resize(model, find_symmetries(model, x), {"g0": 5, "g1": 30})
    second = onefold.resize(first, find_symmetries(first, x), {"g0": 7, "g2": 3})
    again = onefold.load_resized(nets.mlp, onefold.save(second, tmp_path / "a.safetensors"))
    assert torch.equal(again(x), second(x))
    assert [m.out_features for m in again if isinstance(m, nn.Linear)] == [7, 30, 3, 5]


def test_other_readers_say_that_a_file_is_resized(tmp_path: Path) -> None:
    x = torch.randn(3, 10)
    model = nets.mlp()
    small = onefold.resize(model, find_symmetries(model, x), {"g0": 5})
    file = onefold.save(small, tmp_path / "small.safetensors")
    with pytest.raises(WeightsError, match=r"resized: onefold\.load_resized"):
        onefold.load(file, nets.mlp())
    assert onefold.load(file, copy.deepcopy(small)) is not None
    with pytest.raises(WeightsError, match="let the factory make the network as it was"):
        onefold.load_resized(lambda: nn.Sequential(nn.Linear(10, 17)), file)
    with pytest.raises(WeightsError, match="let the factory make the network as it was"):
        onefold.load_resized(lambda: copy.deepcopy(small), file)
    plain = onefold.save(model, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="holds no resized network"):
        onefold.load_resized(nets.mlp, plain)


@pytest.mark.parametrize(
    ("widths", "options", "match"),
    [
        ({"g0": 0}, {}, "cannot have 0 units"),
        ({"g0": -3}, {}, "cannot have -3 units"),
        ({"g9": 3}, {}, "no group 'g9'"),
        ({"g0": []}, {}, "cannot have 0 units"),
        ({"g0": [0, 0]}, {}, "one of them twice"),
        ({"g0": [16]}, {}, "name 16, which it has not got"),
        ({"g0": "all"}, {}, "give a number of units"),
        ({"g0": True}, {}, "give a number of units"),
        ({"g0": [1, 2, 3]}, {"round_to": 8}, "round_to=8"),
        ({"g0": 3}, {"round_to": 0}, "round_to is 0"),
    ],
)
def test_what_is_no_width_is_refused(
    widths: dict[str, Any], options: dict[str, Any], match: str
) -> None:
    model = nets.mlp()
    spec = find_symmetries(model, torch.randn(3, 10))
    with pytest.raises(WidthsError, match=match):
        onefold.resize(model, spec, widths, **options)


def test_widths_are_rounded_upwards_and_never_widen() -> None:
    model = nets.mlp()
    spec = find_symmetries(model, torch.randn(3, 10))
    small = onefold.resize(model, spec, {"g0": 3, "g1": 17, "g2": 9}, round_to=8)
    assert [m.out_features for m in small if isinstance(m, nn.Linear)] == [8, 24, 12, 5]
    wide = onefold.resize(model, spec, {"g0": 17}, round_to=8)
    assert wide[0].out_features == 24


class Written(nn.Module):
    """A width is written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)).view(-1, 6 * 36))


def test_a_width_in_the_code_is_found_by_running() -> None:
    model, x = Written(), torch.randn(2, 1, 8, 8)
    spec = find_symmetries(model, x)
    with pytest.raises(WidthsError, match=r"Written cannot run .* group g0 \(4 units\)"):
        onefold.resize(model, spec, {"g0": 4}, example_inputs=x)


def test_tied_tensors_stay_tied() -> None:
    model, tokens = zoo.Decoder(), zoo.tokens()
    spec = find_symmetries(model, tokens)
    stream = next(g for g in spec.groups if any(s.tensor == "table.weight" for s in g.slots))
    small = onefold.resize(model, spec, {stream.name: [0, 3, 5, 7]})
    assert small.head.weight is small.table.weight
    assert small.table.weight.shape == (20, 4)


def test_streams_padded_with_zeros_are_resized_together() -> None:
    """The code pads as many channels in front as behind, so both groups need one width."""
    model, x = OptionA(), torch.randn(2, 3, 16, 16)
    model = settled(model).double()
    x = x.double()
    spec = find_symmetries(model, x)
    half = {group.name: group.size // 2 for group in spec.groups}
    small = onefold.resize(model, spec, half, example_inputs=x)
    for tensor, cut in sliced(model, spec, {n: list(range(k)) for n, k in half.items()}).items():
        np.testing.assert_array_equal(small.state_dict()[tensor].numpy(), cut, tensor)
    assert {g.name: g.size for g in find_symmetries(small, x).groups} == half
    double = {group.name: group.size * 2 for group in spec.groups}
    wide = onefold.resize(model, spec, double, example_inputs=x)
    torch.testing.assert_close(wide(x), model(x), rtol=1e-10, atol=1e-12)
    padded = next(g.name for g in spec.groups if g.size == 4)  # in front of the stem's 8 channels
    with pytest.raises(WidthsError, match=f"OptionA cannot run .* group {padded} \\(2 units\\)"):
        onefold.resize(model, spec, {padded: 2}, example_inputs=x)


def test_a_network_that_keeps_its_widths_is_a_plain_copy(tmp_path: Path) -> None:
    model, x = nets.mlp(), torch.randn(3, 10)
    spec = find_symmetries(model, x)
    for widths in ({}, {"g0": 16}, {"g0": list(range(15, -1, -1))}):
        same = onefold.resize(model, spec, widths)
        torch.testing.assert_close(same(x), model(x))
        assert not mark_of(same)
    assert same[0].weight is not model[0].weight
    back = onefold.resize(
        onefold.resize(model, spec, {"g0": 20}), resized_spec(model, x), {"g0": 16}
    )
    assert not mark_of(back)


def resized_spec(model: nn.Module, x: Tensor) -> onefold.SymmetrySpec:
    """The symmetries of the network with 20 units in its first group."""
    return find_symmetries(onefold.resize(model, find_symmetries(model, x), {"g0": 20}), x)
