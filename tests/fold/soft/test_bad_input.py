"""Soft merging answers bad input with one sentence that says what is wrong and what to do."""

from __future__ import annotations

import pytest
import torch
from small_networks import Plain, Residual, loader
from soft_networks import Recurrent, labelled, random_members, random_network
from torch import Tensor, nn

from onefold.alignment import align
from onefold.errors import AlignmentError, DataError, MembersError, OnefoldError, SettingError
from onefold.fold import SoftMerge, fit_gates


class Wider(nn.Module):
    """Another architecture with the same outputs, or more of them."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def sentence(error: pytest.ExceptionInfo[OnefoldError]) -> None:
    told = str(error.value)
    assert told.endswith((".", "?"))
    assert "\n" not in told


def pair(**changes: object) -> SoftMerge:
    return SoftMerge(random_members(Plain, 2), **{"level": "model", **changes})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "layers"}, "no level 'layers'; did you mean 'layer'"),
        ({"level": "block"}, "no level 'block'"),
        (
            {"level": "layer", "align": "permutations"},
            "no alignment 'permutations'; did you mean 'permutation'",
        ),
        ({"level": "layer", "align": "xyz"}, "no alignment 'xyz'; known: .*auto"),
        ({"reference": "first"}, "reference is 'first'; give a member's number, or 'best'"),
        (
            {"outputs": "probability"},
            "no outputs 'probability' to sum; did you mean 'probabilities'",
        ),
        ({"stochastic": "yes"}, "stochastic is 'yes'; it must be True, False or 'auto'"),
        ({"include": "head"}, "at level 'model' there are none, so use level='module' or 'layer'"),
        ({"exclude": ["head"]}, "at level 'model' there are none"),
        (
            {"level": "layer", "include": "haed"},
            "'haed' of `include` matches no part.*did you mean 'head'",
        ),
        (
            {"level": "layer", "include": ["conv*", "hiden"]},
            "'hiden' of `include`.*did you mean 'hidden'",
        ),
        ({"level": "layer", "exclude": "cnov1"}, "'cnov1' of `exclude`.*did you mean 'conv1'"),
        ({"level": "module", "include": "conv3"}, "'conv3' of `include`.*did you mean 'conv"),
        ({"level": "module", "exclude": "heads"}, "'heads' of `exclude`.*did you mean 'head'"),
        ({"level": "layer", "include": []}, "list `include` is empty"),
        ({"level": "layer", "exclude": []}, "list `exclude` is empty"),
        (
            {"level": "layer", "include": "conv1", "exclude": "conv*"},
            "No part of the network is left: `exclude` removes",
        ),
        ({"level": "layer", "exclude": "*"}, "No part of the network is left: `exclude` removes"),
    ],
)
def test_unusable_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        pair(**arguments)
    sentence(error)


@pytest.mark.parametrize("reference", [2, -1, 100])
def test_a_reference_that_is_no_member(reference: int) -> None:
    with pytest.raises(
        MembersError, match=f"The reference is {reference}, but the members are numbered 0 to 1"
    ) as error:
        pair(reference=reference)
    sentence(error)


@pytest.mark.parametrize("level", ["model", "module", "layer"])
def test_fewer_than_two_networks(level: str) -> None:
    network = random_network(Plain, 0)
    for given, count in (
        ([], "0 networks were given"),
        ([network], "1 network was given"),
        (network, "1 network was given"),
    ):
        with pytest.raises(MembersError, match=f"{count}.*pass a list of them") as error:
            SoftMerge(given, level)  # type: ignore[arg-type]
        sentence(error)


@pytest.mark.parametrize("level", ["model", "layer"])
def test_members_that_are_no_networks(level: str) -> None:
    with pytest.raises(
        MembersError, match=r"Member 1 is an OrderedDict, not an nn.Module"
    ) as error:
        SoftMerge([random_network(Plain, 0), random_network(Plain, 1).state_dict()], level)
    sentence(error)


@pytest.mark.parametrize("level", ["module", "layer"])
@pytest.mark.parametrize("kind", [Wider, Residual])
def test_members_of_different_architecture_are_pointed_to_the_model_level(
    level: str, kind: type[nn.Module]
) -> None:
    with pytest.raises(
        MembersError, match=f"Member 0 is a Plain but member 1 is a {kind.__name__}.*level='model'"
    ) as error:
        SoftMerge([random_network(Plain, 0), kind()], level)
    sentence(error)


@pytest.mark.parametrize("level", ["module", "layer"])
def test_members_of_one_class_but_other_shapes_are_pointed_to_the_model_level(level: str) -> None:
    with pytest.raises(MembersError, match=r"member 1.*level='model'") as error:
        SoftMerge([Wider(4), Wider(5)], level)
    sentence(error)


def test_members_with_different_numbers_of_outputs() -> None:
    soft = SoftMerge([Wider(4), Wider(5)], "model")
    with pytest.raises(
        MembersError,
        match="Member 1 returns 5 numbers per example, but member 0 4; only networks of one task",
    ) as error:
        soft.prepare(loader(64))
    sentence(error)


@pytest.mark.parametrize("level", ["module", "layer"])
def test_a_network_without_weights_has_nothing_to_gate(level: str) -> None:
    with pytest.raises(SettingError, match=f"ReLU has no {level} with weights.*level='model'"):
        SoftMerge([nn.ReLU(), nn.ReLU()], level)


@pytest.mark.parametrize("level", ["module", "layer"])
@pytest.mark.parametrize("arguments", [{}, {"align": "permutation"}, {"align": "none"}], ids=str)
def test_nothing_runs_before_the_members_are_prepared(
    level: str, arguments: dict[str, str]
) -> None:
    soft = pair(level=level, **arguments)
    assert not soft.prepared
    with pytest.raises(SettingError, match=r"call soft.prepare\(labelled_data\) first"):
        soft(loader(64)[0][0])
    with pytest.raises(SettingError, match=r"call soft.prepare\(labelled_data\) first"):
        soft.harden()


@pytest.mark.parametrize("level", ["model", "module", "layer"])
def test_data_without_labels(level: str) -> None:
    unlabelled = [x for x, _ in loader(64)]
    with pytest.raises(
        DataError, match=r"Batch 0 of the labelled data has no labels.*yield \(inputs, labels\)"
    ) as error:
        fit_gates(pair(level=level), unlabelled)
    sentence(error)
    with pytest.raises(DataError, match="has no labels"):
        pair(level=level).prepare(unlabelled)
    with pytest.raises(DataError, match="Batch 0 of the held-out data has no labels"):
        fit_gates(pair(level=level), loader(64), held_out=unlabelled)


@pytest.mark.parametrize("level", ["model", "module", "layer"])
@pytest.mark.parametrize("wrong", [4, 1000])  # negative labels are no class and are left out
def test_labels_out_of_range(level: str, wrong: int) -> None:
    data = [(x, y.clone()) for x, y in loader(64)]
    data[0][1][::3] = wrong
    with pytest.raises(DataError, match=r"labels range from.*4 classes, numbered 0 to 3") as error:
        fit_gates(pair(level=level), data)
    sentence(error)


@pytest.mark.parametrize("level", ["model", "layer"])
def test_held_out_labels_out_of_range(level: str) -> None:
    with pytest.raises(DataError, match="labels range from 0 to 7"):
        fit_gates(
            pair(level=level, align="none", screen=False),
            loader(64),
            held_out=[(x, y * 0 + torch.arange(len(y)) % 8) for x, y in loader(64)],
            steps=1,
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "yielded no batch"),
        (iter(loader(64)), "can be read only once"),
        (torch.zeros(4, 1, 8, 8), "is a single tensor"),
        (7, "as a list or DataLoader of batches, not 7"),
        ([(torch.zeros(4, 1, 8, 8), torch.zeros(3, dtype=torch.long))], "4 inputs but 3 labels"),
        ([(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long))], "is empty"),
        ([(torch.zeros(4, 1, 8, 8), torch.rand(4))], "convert class numbers with .long"),
        (
            [(torch.zeros(4, 1, 8, 8).double(), torch.zeros(4, dtype=torch.long))],
            r"float32, but not the inputs",
        ),
        (
            [(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))],
            "Plain cannot run on batch",
        ),
        (
            [(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.long))],
            "1 labelled examples cannot be split",
        ),
    ],
    ids=[
        "nothing",
        "iterator",
        "tensor",
        "number",
        "labels",
        "empty",
        "float-labels",
        "dtype",
        "shape",
        "single",
    ],
)
def test_unusable_data(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        fit_gates(pair(), data)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0.0}, "share is 0.0; it is the held-out part"),
        ({"share": 1.0}, "share is 1.0"),
        ({"share": -0.5}, "between 0 and 1"),
        ({"share": float("nan")}, "share is nan"),
        ({"steps": 0}, "steps is 0 and batch_size 128; both must be at least 1"),
        ({"steps": -3}, "steps is -3"),
        ({"batch_size": 0}, "batch_size 0; both must be at least 1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"penalty": -0.1}, "penalty of at least 0"),
    ],
)
def test_settings_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        fit_gates(pair(), loader(64), **arguments)  # type: ignore[arg-type]
    sentence(error)


@pytest.mark.parametrize("level", ["model", "module", "layer"])
def test_all_members_screened_out(level: str) -> None:
    networks = random_members(Plain, 2)
    networks[0].head.weight.data.fill_(float("nan"))
    networks[1].head.weight.data.fill_(0.0)
    networks[1].head.bias.data.fill_(0.0)
    soft = SoftMerge(networks, level)
    with pytest.raises(
        MembersError,
        match=(
            r"No member is left to merge \(member 0: its outputs are not finite; member 1:"
            r" .*guessing"
        ),
    ) as error:
        soft.prepare(loader(256))
    sentence(error)
    assert "screen=False" in str(error.value)


@pytest.mark.parametrize("level", ["model", "layer"])
def test_an_unfit_reference(level: str) -> None:
    networks = random_members(Plain, 2)
    networks[0].head.weight.data.fill_(float("nan"))
    networks[1].head = nn.Linear(12, 4)
    data = [(x, networks[1](x).argmax(-1).detach()) for x, _ in loader(256)]
    soft = SoftMerge(networks, level, align="none", reference=0, screen=True)
    with pytest.raises(
        MembersError,
        match=(
            "Member 0, the reference, is unfit: its outputs are not finite; choose another, or"
            " 'best'"
        ),
    ) as error:
        soft.prepare(data)
    sentence(error)


def test_an_alignment_of_other_members() -> None:
    networks = random_members(Plain, 3)
    found = align(networks[:2], loader(64), method="permutation")
    with pytest.raises(AlignmentError, match="computed for 2 members but 3 were given"):
        SoftMerge(networks, "layer", align=found)
    with pytest.raises(
        SettingError,
        match="reference is 1, but the alignment maps to member 0; leave the reference out",
    ):
        SoftMerge(networks[:2], "layer", align=found, reference=1)


def test_sentences_are_read_as_labelled_data_like_any_other() -> None:
    """Nothing here is for pictures alone."""
    result = fit_gates(
        SoftMerge(random_members(Recurrent, 2), "layer", align="none", screen=False),
        labelled(Recurrent, 64),
        steps=2,
    )
    assert result.choice
