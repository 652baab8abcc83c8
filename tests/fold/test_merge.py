"""Merging real small networks: what repair restores, what order and seeds may not change, and how
bad input is answered.
"""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual, loader, members, trained
from torch import Tensor, nn

import onefold
from onefold.alignment import align, measure_targets
from onefold.batchnorm import reestimate
from onefold.errors import (
    AlignmentError,
    DataError,
    MembersError,
    OnefoldError,
    SettingError,
    TraceError,
)
from onefold.fold import merge, recalibrate
from onefold.fold.average import average, normalized

KINDS = [Plain, Residual]
TEST = loader(512, seed=99, batch=128)


def accuracy(model: nn.Module) -> float:
    return onefold.evaluate(model, TEST).accuracy


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["permutation", "cca", "procrustes", "none"])
@pytest.mark.parametrize("repair", ["auto", "none"])
def test_merging_a_network_with_itself_gives_the_same_function(
    kind: type[nn.Module], method: str, repair: str
) -> None:
    network = trained(kind, 0)
    result = merge(
        [network, copy.deepcopy(network)], loader(1024), align=method, repair=repair, fold="average"
    )
    images = TEST[0][0]
    with torch.no_grad():
        difference = (result.model(images) - network(images)).abs().max() / network(
            images
        ).abs().max()
    # Repair re-estimates statistics from these examples, which are not the ones that batch norm saw
    # in training.
    assert difference < (
        0.15
        if repair == "auto" and kind is Residual and method != "none"
        else 0.3
        if repair == "auto"
        else 1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_aligned_and_repaired_folds_beat_the_plain_average(kind: type[nn.Module]) -> None:
    networks = members(kind, 2)
    scores = {
        m: accuracy(merge(networks, loader(512), align=m, repair="auto", fold="average").model)
        for m in ("permutation", "cca")
    }
    plain = accuracy(merge(networks, align="none", repair="none", fold="average").model)
    assert min(accuracy(n) for n in networks) > 0.85
    assert min(scores.values()) > plain + 0.1, (scores, plain)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_repair_restores_the_deviation_of_the_members(kind: type[nn.Module]) -> None:
    """Variance collapses in an average; after repair every layer's output has the mean and
    deviation that the targets ask for.
    """
    networks, data = members(kind, 3), loader(1024, batch=256)
    found = align(networks, data, method="permutation")
    node = found.spec.layers[1].output
    target = measure_targets(networks, data, found).layers[node]

    def measured(model: nn.Module) -> tuple[Tensor, Tensor]:
        values: list[Tensor] = []
        from onefold.symmetry import trace

        traced = trace(model, (data[0][0],))
        for images, _ in data:
            traced.replay(
                [model.state_dict()],
                (images,),
                {},
                visit=lambda _, v: values.append(v[0].clone()),
                nodes=[node],
            )
        rows = torch.cat(values).movedim(1, -1).flatten(0, -2).double()
        return rows.mean(0), rows.std(0)

    broken = merge(networks, data, align=found, repair="none", fold="average").model
    repaired = merge(networks, data, align=found, repair="full", fold="average").model
    assert (measured(broken)[1] / target.deviation).mean() < 0.9, (
        "nothing collapsed, so that this test shows nothing"
    )
    torch.testing.assert_close(measured(repaired)[1], target.deviation, rtol=0.03, atol=1e-3)
    torch.testing.assert_close(measured(repaired)[0], target.mean, rtol=0.03, atol=0.02)


@pytest.mark.slow
def test_five_members_fold_to_the_same_bits_whatever_the_order_of_the_others() -> None:
    networks = members(Residual, 5)
    results = []
    for order in ([0, 1, 2, 3, 4], [0, 4, 2, 1, 3]):
        for method in ("cca", "permutation"):
            results.append(
                merge([networks[k] for k in order], loader(), align=method, fold="average").model
            )
    assert equal(results[0], results[2])
    assert equal(results[1], results[3])
    assert not equal(results[0], results[1])
    weighted = [
        merge(
            [networks[k] for k in o], loader(), align="cca", weights=[5, *w], fold="average"
        ).model
        for o, w in (([0, 1, 2], [1, 2]), ([0, 2, 1], [2, 1]))
    ]
    assert equal(*weighted)
    assert not equal(
        results[0],
        merge(
            [networks[1], networks[0], *networks[2:]], loader(), align="cca", fold="average"
        ).model,
    )


@pytest.mark.slow
def test_the_targets_of_repair_have_the_same_bits_whatever_the_order_of_the_others() -> None:
    networks = members(Residual, 5)
    found = []
    for order in ([0, 1, 2, 3, 4], [0, 4, 2, 1, 3]):
        models = [networks[k] for k in order]
        alignment = align(models, loader(), method="cca")
        found.append(measure_targets(models, loader(), alignment).layers)
    for node, target in found[0].items():
        assert torch.equal(target.mean, found[1][node].mean)
        assert torch.equal(target.deviation, found[1][node].deviation)


@pytest.mark.slow
def test_same_seed_same_bits_and_inputs_stay_as_they_are() -> None:
    networks = members(Residual, 3)
    before = [copy.deepcopy(n) for n in networks]
    for n in networks:
        n.train()
    first, second = (
        merge(
            networks,
            loader(),
            align=align(networks, loader(), max_positions=8, seed=3),
            seed=3,
            fold="average",
        ).model
        for _ in range(2)
    )
    assert equal(first, second)
    assert all(equal(a, b) for a, b in zip(networks, before, strict=True))
    assert all(m.training for n in networks for m in n.modules())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permutation", "cca", "none"])
def test_repairing_batch_norms_alone_keeps_their_scales(method: str) -> None:
    network = trained(Residual, 0)
    for norm in (network.norm0, network.norm1, network.norm2):
        norm.weight.data.mul_(torch.linspace(0.2, 4.0, norm.num_features))
    reestimate(network, loader(1024))
    result = merge(
        [network, copy.deepcopy(network)],
        loader(1024),
        align=method,
        repair="batchnorm",
        fold="average",
    )
    images = TEST[0][0]
    with torch.no_grad():
        difference = (result.model(images) - network(images)).abs().max() / network(
            images
        ).abs().max()
    assert difference < 0.02
    assert result.report.repaired["norms"] == 3
    assert result.report.repaired["layers"] == 0


@pytest.mark.slow
def test_an_alignment_computed_before_gives_the_same_bits_and_fits_its_members_only() -> None:
    networks = members(Residual, 2)
    found = align(networks, loader(), method="cca")
    assert equal(
        merge(networks, loader(), align=found, fold="average").model,
        merge(networks, loader(), align="cca", fold="average").model,
    )
    with pytest.raises(AlignmentError, match="computed for 2 members but 3 were given"):
        merge([*networks, networks[0]], loader(), align=found, fold="average")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_folded_in_their_own(dtype: torch.dtype) -> None:
    networks = [n.to(dtype) for n in members(Residual, 2)]
    data = [(x.to(dtype), y) for x, y in loader(512)]
    folded = merge(networks, data, align="cca", fold="average").model
    assert {p.dtype for p in folded.parameters()} == {dtype}
    assert onefold.evaluate(folded, [(x.to(dtype), y) for x, y in TEST]).accuracy > 0.6


def test_weights_choose_between_the_members() -> None:
    networks = members(Plain, 2)
    own = merge(networks, align="none", repair="none", weights=[1, 0], fold="average").model
    assert equal(own, networks[0])
    halves = merge(networks, align="none", repair="none", fold="average").model
    torch.testing.assert_close(
        halves.head.weight, (networks[0].head.weight + networks[1].head.weight) / 2
    )
    assert normalized([1, 3], 2) == (0.25, 0.75)


def test_integer_buffers_come_from_the_reference() -> None:
    states = [{"w": torch.tensor([float(k)]), "n": torch.tensor(k + 7)} for k in range(2)]
    folded = average(states, (0.5, 0.5), reference=1)
    assert folded["w"].item() == 0.5
    assert folded["n"].item() == 8


def test_dead_channels_are_not_blown_up() -> None:
    networks = members(Plain, 2)
    for network in networks:
        network.conv1.weight.data[2] = 0.0
    result = merge(networks, loader(), align="permutation", fold="average")
    assert result.report.repaired["dead"] >= 1
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
    assert any("never vary" in w for w in result.report.warnings)


@pytest.mark.slow
def test_the_report_says_what_was_done() -> None:
    report = merge(members(Residual, 2), loader(), align="cca", fold="average").report
    facts = report.to_dict()
    assert facts["align"] == "cca"
    assert facts["members"] == 2
    assert facts["examples"] == 256
    assert facts["coverage"] > 0.99
    assert set(facts["seconds"]) == {
        "trace",
        "statistics",
        "solve",
        "apply and fold",
        "repair",
        "targets",
    }
    assert len(facts["groups"]) == 2
    assert facts["repaired"]["norms"] == 3
    assert "align cca to member 0" in str(report)


class Untraceable(nn.Module):
    """Its path depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if float(x.sum()) > 1e9:
            x = -x
        return self.head(x.flatten(1))


def test_what_cannot_be_traced_can_still_be_averaged() -> None:
    networks = [Untraceable(), Untraceable()]
    with pytest.raises(TraceError, match=r"cannot trace Untraceable.*align=.none."):
        merge(networks, loader(), align="cca", fold="average")
    result = merge(networks, loader(), align="none", fold="average")
    assert result.report.repaired == {"norms": 1, "layers": 0}
    assert any("only batch-norm statistics" in w for w in result.report.warnings)
    torch.testing.assert_close(
        result.model.head.weight, (networks[0].head.weight + networks[1].head.weight) / 2
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fold": "mean"}, SettingError, "no fold named 'mean'"),
        ({"repair": "ful"}, SettingError, "no repair 'ful'; did you mean 'full'"),
        ({"weights": [1.0]}, MembersError, "1 weights were given for 2 members"),
        ({"weights": [1.0, -1.0]}, SettingError, "0 or greater"),
        ({"weights": [0.0, 0.0]}, SettingError, "not all 0"),
        ({"reference": 5}, MembersError, "numbered 0 to 1"),
        ({"data": None}, SettingError, "reads the members' predictions on unlabelled data"),
        ({"data": None, "fold": "average"}, SettingError, "need calibration data"),
        ({"data": iter([1])}, DataError, "can be read only once"),
        ({"data": torch.zeros(4, 1, 8, 8)}, DataError, "is a single tensor"),
    ],
)
def test_unusable_arguments(
    arguments: dict[str, object], error: type[OnefoldError], message: str
) -> None:
    with pytest.raises(error, match=message):
        merge(members(Plain, 2), **{"data": loader(), "align": "permutation", **arguments})


def test_recalibrate_is_for_batch_norm() -> None:
    network = trained(Residual, 0)
    network.norm1.running_mean.fill_(9.0)
    assert recalibrate(network, loader()) is network
    assert network.norm1.running_mean.abs().max() < 5
    with pytest.raises(DataError, match="Plain has no batch norm"):
        recalibrate(trained(Plain, 0), loader())
