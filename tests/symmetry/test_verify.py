"""The numeric proof in float64, with negative controls, for networks of every structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import symmetry_networks as nets
import torch
from torch import Tensor, nn
from tvshim import torchvision_models

from onefold.sources.networks import digits, resnet20, vgg11
from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries

Build = Callable[[], tuple[nn.Module, Any]]


def images(size: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, size, size)


def vision(name: str, **options: Any) -> nn.Module:
    return getattr(torchvision_models(), name)(weights=None, num_classes=7, **options)


def dense121() -> nn.Module:
    return torchvision_models().DenseNet(
        growth_rate=8, num_init_features=16, num_classes=7
    )  # 121 layers, narrow


def narrow_vgg() -> nn.Module:
    module = torchvision_models().vgg
    net = module.VGG(
        module.make_layers([8, "M", 16, "M", 24, 24, "M", 32, 32, "M"], batch_norm=True),
        num_classes=7,
    )
    net.classifier = nn.Sequential(
        nn.Linear(32 * 49, 64),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(64, 48),
        nn.ReLU(),
        nn.Linear(48, 7),
    )
    return net


SMALL: dict[str, Build] = {
    "mlp": lambda: (nets.mlp(), torch.randn(3, 10)),
    "cnn with flatten": lambda: (nets.FlatCNN(), images(8, 1)),
    "digits": lambda: (digits(8), images(8, 1)),
    "vgg11": lambda: (vgg11(0.25), images(32)),
    "vgg11 with norms": lambda: (vgg11(0.25, norm=True), images(32)),
    "resnet20": lambda: (resnet20(0.5), images(16)),
    "mobile": lambda: (nets.mobile(), images(16)),
    "dense": lambda: (nets.Dense(), images(8)),
    "u-net with group norm": lambda: (nets.UNet(), images(16)),
    "padded shortcut": lambda: (nets.PaddedShortcut(), images(8)),
    "stacked gates": lambda: (nets.StackedGates(), torch.randn(3, 5)),
    "stacked branches": lambda: (nets.StackedBranches(), torch.randn(3, 5)),
    "in place": lambda: (nets.InPlace(), torch.randn(3, 5)),
}
TINY = (
    "padded shortcut",
    "stacked gates",
    "stacked branches",
    "in place",
    "mobile",
    "dense",
)  # the biases of the output are more than a hundredth
LARGE: dict[str, Build] = {
    "resnet50": lambda: (vision("resnet50", width_per_group=32), images(32)),
    "resnext": lambda: (
        torchvision_models().ResNet(
            torchvision_models().resnet.Bottleneck, [1, 1, 1, 1], 7, groups=4, width_per_group=8
        ),
        images(32),
    ),
    "mobilenet_v2": lambda: (vision("mobilenet_v2", width_mult=0.5), images(32)),
    "densenet121": lambda: (dense121(), images(32)),
    "torchvision vgg": lambda: (narrow_vgg(), images(32)),
}


def prove(build: Build) -> SymmetrySpec:
    torch.manual_seed(0)
    model, inputs = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spec = find_symmetries(model, inputs)
    proof = verify_symmetries(spec, model, inputs)
    assert proof.passed, str(proof)
    assert proof.max_error < 1e-10
    assert proof.negatives_tried >= min(len(spec.groups), 12)
    assert proof.negatives_detected == proof.negatives_tried
    assert spec.unknown == {}
    assert model.training, "the model must be left in training mode"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert SymmetrySpec.from_json(spec.to_json()) == spec
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_proved(name: str) -> None:
    spec = prove(SMALL[name])
    assert set(spec.frozen.values()) == {"output of the network"}, str(spec)
    assert spec.coverage >= (0.94 if name in TINY else 0.99), str(spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_torchvision_networks_are_proved_and_covered(name: str) -> None:
    assert prove(LARGE[name]).coverage >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "vgg11", "vgg11 with norms", "resnet20"])
def test_built_in_networks_are_covered_and_take_dense_maps(name: str) -> None:
    model, inputs = SMALL[name]()
    spec = find_symmetries(model, inputs)
    assert spec.coverage >= 0.99
    assert all(group.dense for group in spec.groups)
    norms = [layer.norm for layer in spec.layers if layer.norm is not None]
    assert tuple(norms) == spec.norms
    assert len(norms) == {"digits": 2, "vgg11": 0, "vgg11 with norms": 8, "resnet20": 21}[name]


def test_resnet20_has_the_groups_of_its_residual_stream() -> None:
    spec = find_symmetries(resnet20(), images(32))
    assert [group.size for group in spec.groups].count(16) == 4
    stream = max(
        (group for group in spec.groups if group.size == 64), key=lambda group: len(group.slots)
    )
    tensors = {slot.tensor: slot.role for slot in stream.slots}
    assert (
        tensors["layer3.0.conv2.weight"]
        == tensors["layer3.0.shortcut.0.weight"]
        == tensors["layer3.2.conv2.weight"]
        == "producer"
    )
    assert tensors["layer3.1.conv1.weight"] == tensors["linear.weight"] == "consumer"
    assert tensors["layer3.2.bn2.running_var"] == "variance"
    assert {"permutation", "scale"} == stream.maps
    assert [probe.kind for probe in stream.probes if probe.node.startswith("relu")] == ["post"] * 3
    assert {probe.kind for probe in stream.probes if probe.node.startswith("add")} == {"pre"}


def test_norms_behind_a_concatenation_do_not_fold() -> None:
    spec = find_symmetries(nets.Dense(), images(8))
    assert all(layer.norm is None for layer in spec.layers)
    assert len(spec.norms) == 4
    assert not any(group.dense for group in spec.groups)


def test_a_norm_folds_only_into_a_layer_that_it_alone_reads() -> None:
    class Two(nn.Module):
        def __init__(self, case: str) -> None:
            super().__init__()
            self.conv, self.norm, self.head = (
                nn.Conv2d(3, 4, 1),
                nn.BatchNorm2d(4, track_running_stats=case != "batch statistics"),
                nn.Linear(4, 2),
            )
            self.case = case

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z = self.norm(y)
            if self.case == "read twice":
                z = z + y
            if self.case == "norm used twice":
                z = self.norm(torch.relu(z))
            if self.case == "layer used twice":
                z = z + torch.relu(self.conv(x * 2))
            return self.head(torch.relu(z).mean((2, 3)))

    for case, folds in {
        "plain": 1,
        "read twice": 0,
        "norm used twice": 0,
        "layer used twice": 0,
        "batch statistics": 0,
    }.items():
        model = Two(case)
        spec = find_symmetries(model, images(4))
        assert sum(layer.norm is not None for layer in spec.layers) == folds, case
        assert spec.groups[0].dense == (folds == 1), case
        assert verify_symmetries(spec, model, images(4)).passed, case


def test_group_norm_and_grouped_convolution_have_fibres() -> None:
    spec = find_symmetries(nets.FlatCNN(), images(8, 1))
    assert [(group.size, bool(group.over)) for group in spec.groups] == [
        (2, False),
        (3, True),
        (4, True),
        (20, False),
    ]
    inner = spec.groups[1]
    assert inner.over == (spec.groups[0].name,)
    unet = find_symmetries(nets.UNet(), images(16))
    assert any(group.over for group in unet.groups)


def test_stacked_branches_move_together_only_if_one_weight_reads_both() -> None:
    spec = find_symmetries(nets.StackedBranches(), torch.randn(3, 5))
    by_tensor = {
        slot.tensor: group.name for group in spec.groups for slot in group.slots if slot.axis == 0
    }
    assert by_tensor["a.weight"] == by_tensor["b.weight"]
    assert by_tensor["c.weight"] != by_tensor["d.weight"]


def test_zero_channels_of_a_padded_shortcut_move_too() -> None:
    spec = find_symmetries(nets.PaddedShortcut(), images(8))
    assert sorted(group.size for group in spec.groups) == [2, 4, 6]


def test_several_outputs_ties_and_unused_parameters() -> None:
    model, inputs = nets.TwoOutputs(), torch.randn(3, 6)
    spec = find_symmetries(model, inputs)
    assert ("first.weight", "second.weight") in spec.tied
    assert spec.axes["first.weight"] == spec.axes["second.weight"]
    assert not any(slot.tensor == "second.weight" for group in spec.groups for slot in group.slots)
    assert spec.frozen["unused"] == "not used by the traced graph"
    assert spec.frozen["heads.1.bias"] == "output of the network"
    proof = verify_symmetries(spec, model, inputs)
    assert proof.passed, str(proof)


def test_a_wrong_spec_is_refuted() -> None:
    """Negative control of the proof itself: two hidden layers that have nothing to do with each
    other, said to move together.
    """
    import dataclasses

    model, inputs = (
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)),
        torch.randn(3, 4),
    )
    spec = find_symmetries(model, inputs)
    first, second = spec.groups
    axes = dict(spec.axes)
    axes["4.weight"] = (
        axes["4.weight"][0],
        axes["0.weight"][0],
    )  # the last layer reads group g0 instead of g1
    slots = tuple(slot for slot in second.slots if slot.tensor != "4.weight")
    moved = next(slot for slot in second.slots if slot.tensor == "4.weight")
    wrong = dataclasses.replace(
        spec,
        axes=axes,
        groups=(
            dataclasses.replace(first, slots=(*first.slots, moved)),
            dataclasses.replace(second, slots=slots),
        ),
    )
    proof = verify_symmetries(wrong, model, inputs)
    assert not proof.passed
    assert proof.max_error > 1e-3


def test_the_same_network_gives_the_same_spec_and_works_on_the_meta_device() -> None:
    with torch.device("meta"):
        hollow = resnet20(0.5)
        inputs = torch.empty(2, 3, 16, 16)
    assert (
        find_symmetries(hollow, inputs)
        == find_symmetries(resnet20(0.5), images(16))
        == find_symmetries(resnet20(0.5), images(16))
    )
