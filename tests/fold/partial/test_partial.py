"""Partial merges: behind a trunk that is one member's own function that member answers exactly, in
each of the three ways a head can read it.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import symmetry_networks as nets
import torch
from head_networks import Attention
from small_networks import Plain, Residual, loader, members, trained
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import onefold
from onefold.alignment import Alignment, align
from onefold.alignment.matchers.zipit import ZipIt
from onefold.errors import MembersError, SettingError, SymmetryError, WeightsError
from onefold.fold import LeastSquares, load_partial, merge, save_partial
from onefold.fold.partial import heads
from onefold.fold.partial.heads import head_state
from onefold.fold.partial.module import Head, PartialMerge, assemble
from onefold.symmetry import apply_maps, fold_scales, trace
from onefold.symmetry.cutting import Cutting
from onefold.symmetry.drawing import random_maps

DATA = [(x.double(), y) for x, y in loader()]
IMAGES = DATA[0][0]


def doubled(kind: type[nn.Module], count: int = 3) -> list[nn.Module]:
    return [model.double() for model in members(kind, count)]


def rows(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def chain(width: int = 8, classes: int = 4) -> nn.Module:
    """Everything a module, so that features are read behind nonlinearities and pools."""
    convolutions = [
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, width, 3, padding=1),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(
        *convolutions,
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * width, 12),
        nn.ReLU(),
        nn.Linear(12, classes),
    )


def chains(count: int = 2, **options: Any) -> list[nn.Module]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(chain(**options).double().eval())
    return made


@pytest.mark.parametrize(
    "way", ["the first that is exact", "not written", "neither written nor read"]
)
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (nets.mlp, (10,)),
        (nets.FlatCNN, (1, 8, 8)),
        (nets.InPlace, (5,)),
        (nets.TwoOutputs, (6,)),
        (nets.PaddedShortcut, (3, 8, 8)),
        (Attention, (7, 5)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_head_undoes_any_map_that_keeps_the_function(
    build: Any, shape: tuple[int, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, x = build().double().eval(), torch.randn(3, *shape, dtype=torch.float64)
    cutting, generator = Cutting(trace(network, (x,))), torch.Generator().manual_seed(1)
    spec, state = cutting.spec, network.state_dict()
    wanted = pytree.tree_leaves(rows(network, x.clone()))
    if way != "the first that is exact":
        monkeypatch.setattr(heads, "keeps_function", lambda *_, **__: False)
    if way == "neither written nor read":
        monkeypatch.setattr(heads, "_readers", lambda *_: None)

    def error(of: dict[str, Tensor], steps: list[Any], trunk: dict[str, Tensor], cut: Any) -> float:
        got = pytree.tree_leaves(rows(assemble(cutting, cut, trunk, [of], [steps], [1.0]), x))
        return max(float((a - b).abs().max()) for a, b in zip(got, wanted, strict=True))

    ways = set()
    for kind in ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"):
        turns = any(kind in group.folded for group in spec.groups)
        groups = [
            group
            for group in spec.groups
            if kind in group.maps | (group.folded if turns else frozenset())
        ]
        maps = random_maps(spec, groups, kind, generator)
        plain = fold_scales(state, spec) if turns else state
        trunk = apply_maps(plain, spec, maps)
        alignment = Alignment(
            "random",
            spec,
            0,
            1,
            {name: (own,) for name, own in maps.items()},
            {},
            {},
            {},
            folds_scales=turns,
        )
        for cut in cutting.cuts:
            head = head_state(cutting, cut, alignment, state, 0)
            ways.add(head.way)
            assert error(head.state, head.unmerge, trunk, cut) < 1e-10
            if head.way != "own":
                assert (
                    error(plain, [], trunk, cut) > 1e-4
                )  # the member's layers on features that were not brought back
    assert ("written" if way == "the first that is exact" else "unmerged") in ways


@pytest.mark.parametrize(
    "method",
    [
        "permutation",
        "cca",
        "procrustes",
        "weights",
        "transport",
        "none",
        ZipIt(within=0.0),
        "zipit",
    ],
)
def test_behind_a_trunk_of_one_member_that_member_answers_exactly(method: Any) -> None:
    count = (
        2 if isinstance(method, ZipIt) else 3
    )  # of two, and without merging within them, each cluster has one feature of both
    models = chains(count)
    alignment = method if method == "none" else align(models, DATA, method=method)
    wanted = [rows(model, IMAGES) for model in models]
    for until, k in (("1", 0), ("1", 1), ("4", 1), (0.8, 0), (0.8, 1)):
        weights = [float(j == k) for j in range(count)]
        result = onefold.partial_merge(
            models,
            DATA,
            until=until,
            align=alignment,
            repair="none",
            weights=weights,
            outputs="members",
        )
        errors = [
            float((own - other).abs().max())
            for own, other in zip(rows(result.model, IMAGES), wanted, strict=True)
        ]
        # A map of features behind a nonlinearity is undone exactly only if it goes through that
        # nonlinearity, or if it is nothing: the reference's.
        exact = (
            method in ("permutation", "weights", "transport", "none")
            or isinstance(method, ZipIt)
            or (k == 0 and method != "zipit")
        )
        assert (errors[k] < 1e-10) == exact, errors
        assert all(errors[j] > 1e-3 for j in range(count) if j != k)
        own = [*result.model.heads[1:], result.model.heads[0]]
        others = PartialMerge(result.model.trunk, own, [1 / count] * count, outputs="members")  # type: ignore[arg-type]
        assert float((rows(others, IMAGES)[k] - wanted[k]).abs().max()) > 1e-3


def test_dense_maps_go_into_the_weights_that_read_them_where_all_is_linear_on_the_way() -> None:
    models = chains(2)
    alignment = align(models, DATA, method="cca")

    def ways(until: str) -> list[str]:
        return onefold.partial_merge(models, DATA, until=until, align=alignment).report.heads

    assert (
        ways("1") == ways("3") == ways("4") == ways("5") == ways("7") == ["own", "read"]
    )  # through a pool, and channels times positions
    assert ways("0") == ways("2") == ways("6") == ["own", "unmerged"]  # a ReLU comes first
    result = onefold.partial_merge(models, DATA, until="3", align="cca")
    twin = onefold.partial_merge(models, DATA, until="2", align="cca")
    assert result.report.costs.partial.multiply_adds == pytest.approx(
        twin.report.costs.partial.multiply_adds - 8 * 8 * 64
    )


def test_a_skip_connection_crosses_with_the_branch() -> None:
    models = doubled(Residual)
    for until, crossing in (("norm0", 1), ("norm1", 2), ("norm2", 2)):
        result = onefold.partial_merge(
            models,
            DATA,
            until=until,
            align="permutation",
            repair="none",
            weights=[0, 1, 0],
            outputs="members",
        )
        assert result.report.crossing == crossing
        assert float((rows(result.model, IMAGES)[1] - rows(models[1], IMAGES)).abs().max()) < 1e-12
    with pytest.raises(SymmetryError, match="parted from its batch norm"):
        onefold.partial_merge(models, DATA, until="conv1", align="permutation")


def test_rotations_of_a_transformer_are_written_into_its_heads() -> None:
    models, data = (
        [],
        [
            torch.randn(32, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
            for k in range(4)
        ],
    )
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(Attention().double().eval())
    for until in ("into", "out", "second", "down", "last"):
        result = onefold.partial_merge(
            models,
            data,
            until=until,
            align="rotation",
            repair="none",
            weights=[0, 1],
            outputs="members",
        )
        first, second = (
            float((own - rows(model, data[0])).abs().max())
            for own, model in zip(rows(result.model, data[0]), models, strict=True)
        )
        assert result.report.heads == ["own", "written"]
        assert first > 1e-3
        assert second < 1e-10


def test_the_trunk_is_that_of_the_repaired_merge() -> None:
    models = doubled(Residual)
    result = onefold.partial_merge(models, DATA, until="norm1", align="permutation", repair="full")
    whole = merge(models, DATA, align="permutation", repair="full").model.state_dict()
    plain = merge(models, DATA, align="permutation", repair="none").model.state_dict()
    own = result.model.trunk.state_dict()
    assert {name.split(".")[0] for name in own} == {"stem", "norm0", "conv1", "norm1"}
    assert all(torch.equal(value, whole[name]) for name, value in own.items())
    assert not torch.equal(own["norm1.running_var"], plain["norm1.running_var"])


@pytest.mark.parametrize(
    ("fold", "settings"),
    [
        ("least_squares", {}),
        (LeastSquares(target="equal"), {}),
        ("least_squares", {"target": "selection"}),
        ("soup", {}),
    ],
)
def test_other_folds_make_the_trunk(fold: Any, settings: dict[str, Any]) -> None:
    models = members(Plain, 2)
    data = loader(512)
    result = onefold.partial_merge(
        models, data, until="conv2", align="permutation", fold=fold, outputs="members", **settings
    )
    images, wanted = data[0][0], [rows(model, data[0][0]) for model in models]
    agreement = [
        float((own.argmax(1) == other.argmax(1)).float().mean())
        for own, other in zip(rows(result.model, images), wanted, strict=True)
    ]
    assert min(agreement) > 0.6  # each head reads its own features
    values = result.model.trunk(images)
    mixed = [
        v[:, torch.randperm(v.shape[1], generator=torch.Generator().manual_seed(0))] for v in values
    ]
    lost = [
        float((h(*mixed).argmax(1) == other.argmax(1)).float().mean())
        for h, other in zip(result.model.heads, wanted, strict=True)
    ]
    assert min(lost) < min(agreement)  # the control: features in another order


def test_folds_in_a_basis_of_their_own_are_refused() -> None:
    for fold in ("least_squares", LeastSquares()):
        with pytest.raises(SettingError, match="'pruning' puts features into a basis of its own"):
            onefold.partial_merge(
                chains(2),
                DATA,
                until="1",
                fold=fold,
                **({"target": "pruning"} if fold == "least_squares" else {}),
            )
    for name in ("auto", "greedy_soup"):  # which may take one member as it came
        with pytest.raises(
            SettingError, match=f"'{name}' may put features into a basis of its own"
        ):
            onefold.partial_merge(chains(2), DATA, until="1", fold=name)


def test_outputs_are_averaged_or_returned_one_by_one() -> None:
    models = doubled(Plain)
    made = onefold.partial_merge(
        models, DATA, until="conv1", align="permutation", weights=[2, 1, 1]
    ).model
    mean = rows(made, IMAGES)
    made.outputs = "members"
    each = rows(made, IMAGES)
    made.outputs = "probabilities"
    logs = rows(made, IMAGES)
    torch.testing.assert_close(mean, 0.5 * each[0] + 0.25 * each[1] + 0.25 * each[2])
    torch.testing.assert_close(
        logs.exp(),
        0.5 * each[0].softmax(1) + 0.25 * each[1].softmax(1) + 0.25 * each[2].softmax(1),
        rtol=1e-6,
        atol=1e-7,
    )
    values = made.trunk(IMAGES)
    assert all(torch.equal(head(*values), own) for head, own in zip(made.heads, each, strict=True))
    torch.manual_seed(0)
    twins = [nets.TwoOutputs().double().eval() for _ in range(2)]
    x = torch.randn(64, 6, dtype=torch.float64)
    found = rows(
        onefold.partial_merge(
            twins, [x], until="trunk", align="none", repair="none", weights=[1, 0]
        ).model,
        x,
    )
    torch.testing.assert_close(found, rows(twins[0], x))  # in the network's own form: a dict


def test_members_with_other_numbers_of_labels() -> None:
    models = [chains(1, classes=4)[0], chains(2, classes=7)[1]]
    for k, align_ in ((0, "zipit"), (1, "permutation"), (0, "cca")):
        weights = [float(j == k) for j in range(2)]
        matcher = ZipIt(within=0.0) if align_ == "zipit" else align_
        result = onefold.partial_merge(
            models,
            DATA,
            until="4",
            align=matcher,
            repair="none",
            weights=weights,
            outputs="members",
        )
        outputs = rows(result.model, IMAGES)
        assert [own.shape[1] for own in outputs] == [4, 7]
        assert float((outputs[k] - rows(models[k], IMAGES)).abs().max()) < 1e-10
    with pytest.raises(MembersError, match="label sets of different sizes"):
        onefold.partial_merge(models, DATA, until="4")
    with pytest.raises(
        MembersError,
        match=r"'2.weight' has shape \(8, 6, 3, 3\) in member 0 but \(9, 6, 3, 3\) in member 1",
    ):
        onefold.partial_merge([chains()[0], chains(width=9)[0]], DATA, until="4", outputs="members")


def test_members_of_other_widths_by_transport() -> None:
    models = [chains()[0], chains(width=5)[0]]
    for until in ("1", "3", "5"):
        result = onefold.partial_merge(
            models,
            DATA,
            until=until,
            align="transport",
            repair="none",
            weights=[1, 0],
            outputs="members",
        )
        outputs = rows(result.model, IMAGES)
        assert float((outputs[0] - rows(models[0], IMAGES)).abs().max()) < 1e-12
        assert outputs[1].shape == outputs[0].shape
        assert result.model.heads[1].layers.state_dict()["6.weight"].shape == (
            12,
            20,
        )  # its own, of its own width


def test_costs_are_what_a_hand_counts() -> None:
    models = chains(2)
    costs = onefold.partial_merge(models, DATA, until="3", align="permutation").report.costs
    trunk = 6 * 9 + 6 + 8 * 6 * 9 + 8
    rest = 12 * 32 + 12 + 4 * 12 + 4
    assert (costs.one.parameters, costs.partial.parameters, costs.ensemble.parameters) == (
        trunk + rest,
        trunk + 2 * rest,
        2 * (trunk + rest),
    )
    sums, behind = 64 * 6 * 9 + 64 * 8 * 6 * 9, 12 * 32 + 4 * 12
    assert (costs.one.multiply_adds, costs.partial.multiply_adds) == (
        sums + behind,
        sums + 2 * behind,
    )
    assert costs.ensemble.multiply_adds == 2 * costs.one.multiply_adds


def test_members_stay_as_they_are_and_the_same_seed_gives_the_same_bits() -> None:
    models = chains(2)
    before = [copy.deepcopy(model.state_dict()) for model in models]
    first, second = (
        onefold.partial_merge(models, DATA, until="1", align="zipit").model for _ in range(2)
    )
    rows(first, IMAGES)
    assert all(
        torch.equal(value, state[name])
        for model, state in zip(models, before, strict=True)
        for name, value in model.state_dict().items()
    )
    assert all(
        torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items()
    )
    first.heads[0].layers.get_parameter("2.weight").data.zero_()
    assert all(
        torch.equal(value, before[0][name]) for name, value in models[0].state_dict().items()
    )


@pytest.mark.parametrize(
    ("method", "until"), [("zipit", "0"), ("cca", "0"), ("cca", "3"), ("permutation", "5")]
)
def test_it_is_written_and_read_again(tmp_path: Path, method: str, until: str) -> None:
    models = chains(2)
    made = onefold.partial_merge(
        models, DATA, until=until, align=method, outputs="probabilities", weights=[3, 1]
    ).model
    path = save_partial(made, tmp_path / "partial.safetensors")
    again = load_partial(path, chain().double())
    assert isinstance(again, PartialMerge)
    assert torch.equal(rows(again, IMAGES), rows(made, IMAGES))
    with pytest.raises(WeightsError, match="not one of this architecture"):
        load_partial(path, Plain().double())
    with pytest.raises(WeightsError, match="holds no partial merge"):
        load_partial(onefold.save(models[0], tmp_path / "plain.safetensors"), chain())
    for damage in (
        {"shares": [1.0]},
        {"until": "9"},
        {"inputs": {"args": [], "kwargs": {}}},
        {"unmerge": 3},
        {"outputs": "sum"},
    ):
        facts = json.loads(onefold.fold.partial.saved.describe(made)["onefold.partial"]) | damage
        onefold.save(
            made,
            tmp_path / "damaged.safetensors",
            metadata={"onefold.partial": json.dumps(facts)},
            force=True,
        )
        with pytest.raises(WeightsError, match="not one of this architecture"):
            load_partial(tmp_path / "damaged.safetensors", chain().double())


def test_with_other_numbers_of_labels_it_is_read_with_a_network_for_each(tmp_path: Path) -> None:
    models = [chains(1, classes=4)[0], chains(2, classes=7)[1]]
    made = onefold.partial_merge(
        models, DATA, until="4", align="permutation", outputs="members"
    ).model
    path = save_partial(made, tmp_path / "partial.safetensors")
    again = load_partial(path, [chain(classes=4).double(), chain(classes=7).double()])
    assert all(
        torch.equal(a, b) for a, b in zip(rows(again, IMAGES), rows(made, IMAGES), strict=True)
    )
    with pytest.raises(WeightsError):
        load_partial(path, chain(classes=7).double())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"until": "9"}, SymmetryError, "has no module '9'"),
        ({"until": 1.0}, SymmetryError, "share of layers"),
        ({"until": "1", "polish": 2}, SettingError, "takes no polish"),
        ({"until": "1", "outputs": "sum"}, SettingError, "no outputs 'sum'"),
        ({"until": "1", "repair": "some"}, SettingError, "no repair 'some'"),
        ({"until": "1", "reference": 5}, MembersError, "reference is 5"),
        ({"until": "1", "weights": [1.0]}, MembersError, "1 weights were given"),
    ],
)
def test_one_sentence_for_what_cannot_be(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        onefold.partial_merge(chains(2), DATA, **options)


def test_more_layers_of_their_own_bring_the_ensemble_nearer() -> None:
    models = [trained(Plain, seed) for seed in range(2)]
    data, test = loader(512), loader(512, seed=99)
    ensemble = [sum(rows(m, x).softmax(1) for m in models) / 2 for x, _ in test]

    def distance(until: str) -> float:
        made = onefold.partial_merge(
            models, data, until=until, align="zipit", outputs="probabilities"
        ).model
        return sum(
            float((rows(made, x).exp() - own).abs().mean())
            for (x, _), own in zip(test, ensemble, strict=True)
        )

    early, late = distance("conv1"), distance("hidden")
    assert early < late
    assert isinstance(
        onefold.partial_merge(models, data, until="conv1", align="none").model.heads[0], Head
    )
