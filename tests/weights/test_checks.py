"""Unfit tensors, members and states are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onefold import weights
from onefold.errors import MembersError, WeightsError
from onefold.sources.networks import digits, resnet20


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def test_a_sound_network_passes() -> None:
    network = digits(4)
    weights.check_state(network.state_dict(), "a", network)
    weights.check_state(
        {
            "w": torch.ones(2, dtype=torch.bfloat16),
            "position_ids": torch.arange(5),
            "mask": torch.ones(2, 2, dtype=torch.bool),
        },
        "a",
    )


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, 2, dtype=torch.int8), torch.ones(2, 2, dtype=torch.uint8)]
)
def test_quantised_integer_weights_are_refused(tensor: Tensor) -> None:
    with pytest.raises(WeightsError, match=r"m\.pt has integer weights: 'w' is u?int8"):
        weights.check_state({"w": tensor}, "m.pt")


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation.*")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2).to(torch.float8_e4m3fn),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    ],
)
def test_quantised_dtypes_are_refused(make: Callable[[], Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"m\.pt is quantised: 'w'"):
        weights.check_state({"w": make()}, "m.pt")


def test_the_network_decides_what_an_integer_weight_is() -> None:
    network = nn.Module()
    network.register_parameter(
        "w", nn.Parameter(torch.ones(3, dtype=torch.int64), requires_grad=False)
    )
    network.register_buffer("table", torch.ones(2, 2, dtype=torch.int8))
    with pytest.raises(WeightsError, match="'w' is int64"):
        weights.check_state(network.state_dict(), "m.pt", network)
    weights.check_state({"table": torch.ones(2, 2, dtype=torch.int8)}, "m.pt", network)


def test_non_finite_counts_all_tensors() -> None:
    state = {
        "a": torch.tensor([1.0, float("nan")]),
        "b": torch.tensor([float("inf")]),
        "c": torch.ones(1),
    }
    with pytest.raises(WeightsError, match="'a' holds 1 NaN or infinite values, as do 1 other"):
        weights.check_state(state, "m.pt")


def test_tensors_without_data_are_refused() -> None:
    with pytest.raises(WeightsError, match="meta"):
        weights.check_state({"a": torch.ones(2, device="meta")}, "m.pt")


def test_members_of_one_architecture_pass() -> None:
    states = [digits(4).state_dict() for _ in range(3)]
    weights.check_members(states, ["a", "b", "c"], digits(4))
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in states[1].items()
    }
    weights.check_members([states[0], half], ["a", "b"])


def test_one_member_is_too_few() -> None:
    with pytest.raises(MembersError, match="at least two"):
        weights.check_members([digits(4).state_dict()], ["a"])


def test_members_of_different_widths_are_named_with_both_shapes() -> None:
    with pytest.raises(
        MembersError,
        match=r"'conv1.weight' is \(4, 1, 3, 3\) in first.pt but \(6, 1, 3, 3\) in second.pt",
    ):
        weights.check_members(
            [digits(4).state_dict(), digits(6).state_dict()], ["first.pt", "second.pt"]
        )


def test_members_of_different_names_are_listed() -> None:
    with pytest.raises(
        MembersError,
        match=(
            r"b lacks '[^']+', '[^']+', '[^']+' and \d+ more and a lacks '[^']+', '[^']+', '[^']+'"
            r" and \d+ more"
        ),
    ):
        weights.check_members([digits(4).state_dict(), resnet20(0.25).state_dict()], ["a", "b"])


def test_members_of_different_kinds_are_named() -> None:
    with pytest.raises(MembersError, match="'w' is float32 in a but int64 in b"):
        weights.check_members(
            [{"w": torch.ones(2)}, {"w": torch.ones(2, dtype=torch.int64)}], ["a", "b"]
        )


def test_load_into_copies_and_converts() -> None:
    source, target = digits(4), digits(4).double()
    weights.load_into(target, source.state_dict(), "a")
    assert target.conv1.weight.dtype == torch.float64
    assert all(
        torch.equal(a.double(), b.double())
        for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_load_into_names_what_does_not_fit_and_changes_nothing() -> None:
    network = digits(4)
    before = weights.state_checksum(network.state_dict())
    state = digits(4).state_dict()
    missing = {name: tensor for name, tensor in state.items() if not name.startswith("head")}
    with pytest.raises(
        WeightsError,
        match=r"m.pt does not fit the network DigitsNet: it lacks 'head.weight', 'head.bias'; ",
    ):
        weights.load_into(network, missing, "m.pt")
    with pytest.raises(WeightsError, match="has 'extra', which the network does not know"):
        weights.load_into(network, {**state, "extra": torch.ones(1)}, "m.pt")
    with pytest.raises(
        WeightsError, match=r"'head.weight' has shape \(7, 32\) in the file, but \(10, 32\)"
    ):
        weights.load_into(network, digits(4, classes=7).state_dict(), "m.pt")
    with pytest.raises(WeightsError, match=r"'head.bias' is int64 in the file, but float32"):
        weights.load_into(
            network, {**state, "head.bias": torch.ones(10, dtype=torch.int64)}, "m.pt"
        )
    assert weights.state_checksum(network.state_dict()) == before


def test_a_tied_name_may_be_left_out() -> None:
    network = Tied()
    value = torch.randn(5, 3)
    weights.load_into(network, {"embed.weight": value}, "a")
    assert torch.equal(network.head.weight, value)
    with pytest.raises(WeightsError, match="lacks"):
        weights.load_into(network, {}, "a")


class Two(nn.Module):
    """A body of some width, and a head of some labels."""

    def __init__(self, labels: int, width: int = 4, bias: bool = True) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, width), nn.Linear(width, labels, bias=bias)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (Two(10), Two(7)),
        (Two(7), Two(12)),
        (Two(3, bias=False), Two(2, bias=False)),
        (digits(4), digits(4, classes=5)),
        (resnet20(0.25), resnet20(0.25, classes=100)),
    ],
)
def test_members_with_label_sets_of_their_own_are_told_where_to_go(
    first: nn.Module, other: nn.Module
) -> None:
    with pytest.raises(MembersError, match=r"go into onefold\.partial_merge, which keeps"):
        weights.check_members([first.state_dict(), other.state_dict()], ["a", "b"])


@pytest.mark.parametrize(
    ("first", "other"),
    [(Two(10), Two(10, width=5)), (Two(10), Two(7, width=5)), (digits(4), digits(8))],
)
def test_members_of_other_widths_are_not(first: nn.Module, other: nn.Module) -> None:
    with pytest.raises(MembersError, match="give checkpoints of one and the same network"):
        weights.check_members([first.state_dict(), other.state_dict()], ["a", "b"])
