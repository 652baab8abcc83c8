"""Partial merges: the trunk, the outputs, other widths, repetition and bad input."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import symmetry_networks as nets
import torch
from partial_chains import chains, doubled, rows
from small_networks import Plain, Residual, loader, members, trained

import onefold
from onefold.errors import MembersError, SettingError, SymmetryError
from onefold.fold import LeastSquares, merge
from onefold.fold.partial.module import Head

DATA = [(x.double(), y) for x, y in loader()]
IMAGES = DATA[0][0]


@pytest.mark.slow
def test_the_trunk_is_that_of_the_repaired_merge() -> None:
    models = doubled(Residual)
    result = onefold.partial_merge(models, DATA, until="norm1", align="permutation", repair="full")
    whole = merge(
        models, DATA, align="permutation", repair="full", fold="average"
    ).model.state_dict()
    plain = merge(
        models, DATA, align="permutation", repair="none", fold="average"
    ).model.state_dict()
    own = result.model.trunk.state_dict()
    assert {name.split(".")[0] for name in own} == {"stem", "norm0", "conv1", "norm1"}
    assert all(torch.equal(value, whole[name]) for name, value in own.items())
    assert not torch.equal(own["norm1.running_var"], plain["norm1.running_var"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fold", "settings"),
    [
        ("least_squares", {}),
        (LeastSquares(target="equal"), {}),
        (LeastSquares(target="selection"), {}),
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
    with pytest.raises(SettingError, match="'pruning' puts features into a basis of its own"):
        onefold.partial_merge(chains(2), DATA, until="1", fold=LeastSquares())
    for name in ("auto", "greedy_soup"):  # which may take one member as it came
        with pytest.raises(
            SettingError, match=f"'{name}' may put features into a basis of its own"
        ):
            onefold.partial_merge(chains(2), DATA, until="1", fold=name)


@pytest.mark.slow
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


@pytest.mark.slow
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
    ("options", "error", "message"),
    [
        ({"until": "9"}, SymmetryError, "has no module '9'"),
        ({"until": 1.0}, SymmetryError, "share of layers"),
        ({"until": "1", "polish": 2}, TypeError, "unexpected keyword argument 'polish'"),
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


@pytest.mark.slow
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
