"""One bad member of five, or four: it is left out by name and costs nothing."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, loader, members
from torch import Tensor, nn

import onefold
from onefold.alignment import align
from onefold.errors import MembersError
from onefold.fold import SoftMerge, SoftResult, fit_gates, merge
from onefold.fold.soft.candidates import aligned_average
from onefold.fold.soft.examples import Examples
from onefold.measure import Scores

Attack = Callable[[nn.Module, int], None]


def noisy(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Pictures with so much noise that no member is perfect."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return [(x + torch.randn(x.shape, generator=generator), y) for x, y in loader(count, seed, 128)]


TEST, HELD_OUT = noisy(4096, 99), noisy(2048, 98)


def train(network: nn.Module, data: list[tuple[Tensor, Tensor]], flip: bool = False) -> nn.Module:
    """One pass with Adam, so that the network is not too sure of itself; `flip`: every label is
    false.
    """
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for images, labels in data:
        loss = F.cross_entropy(network(images), 3 - labels if flip else labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def fit(soft: SoftMerge, steps: int) -> SoftResult:
    return fit_gates(soft, noisy(512, 0), held_out=HELD_OUT, steps=steps)


def accuracy(model: nn.Module) -> float:
    return onefold.evaluate(model, TEST).accuracy


@torch.no_grad()
def nan_weights(network: nn.Module, seed: int) -> None:
    for parameter in network.parameters():
        parameter.fill_(float("nan"))


@torch.no_grad()
def one_infinite_value(network: nn.Module, seed: int) -> None:
    network.hidden.weight[seed % 12, 3] = float("inf")


@torch.no_grad()
def random_times_a_million(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.copy_(1e6 * torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def times_a_million(network: nn.Module, seed: int) -> None:
    for parameter in network.parameters():
        parameter.mul_(1e6)


@torch.no_grad()
def outputs_negated(network: nn.Module, seed: int) -> None:
    network.head.weight.neg_()
    network.head.bias.neg_()


@torch.no_grad()
def sign_flipped(network: nn.Module, seed: int) -> None:
    for parameter in network.parameters():
        parameter.neg_()


def trained_on_false_labels(network: nn.Module, seed: int) -> None:
    network.load_state_dict(type(network)().state_dict())
    train(network, noisy(128 * 30, 500 + seed), flip=True)


@torch.no_grad()
def one_poisoned_layer(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = network.hidden.weight
    weight.copy_(1e3 * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def outputs_in_another_order(network: nn.Module, seed: int) -> None:
    network.head.weight.copy_(network.head.weight.roll(1, 0))
    network.head.bias.copy_(network.head.bias.roll(1, 0))


ATTACKS: list[Attack] = [
    nan_weights,
    one_infinite_value,
    random_times_a_million,
    times_a_million,
    outputs_negated,
    trained_on_false_labels,
    one_poisoned_layer,
    outputs_in_another_order,
]


@functools.cache
def scores_of(network: nn.Module) -> Scores:
    """The scores of an honest network on the test data, which many tests compare with."""
    return onefold.evaluate(network, TEST)


@pytest.fixture(scope="module")
def honest() -> list[nn.Module]:
    networks = []
    for seed in range(5):
        torch.manual_seed(seed)
        networks.append(train(Plain(), noisy(128 * 60, 100 + seed)))
    return networks


def attacked(networks: list[nn.Module], attack: Attack, bad: list[int]) -> list[nn.Module]:
    networks = [copy.deepcopy(network) for network in networks]
    for k in bad:
        attack(networks[k], k)
        networks[k].eval()
    return networks


def best_of(honest: list[nn.Module], bad: list[int]) -> Scores:
    """The scores of the most accurate member that is not bad."""
    good = [network for k, network in enumerate(honest) if k not in bad]
    return max(map(scores_of, good), key=lambda scores: scores.accuracy)


def check(result: SoftResult, honest: list[nn.Module], bad: list[int]) -> None:
    good = [k for k in range(len(honest)) if k not in bad]
    assert bool((result.gates.values[:, bad] == 0).all()), result.gates
    assert bool((result.gates.values[:, good] != 0).any())
    fates = result.gates.fates()
    for k in bad:
        assert fates[k].startswith(("screened out: ", "gated out: ")), fates
        assert any(
            note.startswith(f"member {k} was ") and "out:" in note for note in result.notes
        ), result.notes
    assert result.choice not in [f"member {k}" for k in bad]
    best = best_of(honest, bad)
    assert accuracy(result.model) >= best.accuracy - 0.005 - best.accuracy_error
    assert all(bool(p.isfinite().all()) for p in result.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("bad", [[1], [0, 1, 3, 4]], ids=["one", "four"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_bad_members_are_shut_out_at_model_level(
    honest: list[nn.Module], attack: Attack, bad: list[int]
) -> None:
    networks = attacked(honest, attack, bad)
    check(fit(SoftMerge(networks, "model"), steps=200), honest, bad)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "bad"),
    [
        (nan_weights, [1]),
        (times_a_million, [1]),
        (outputs_in_another_order, [1]),
        (trained_on_false_labels, [1]),
        (trained_on_false_labels, [0, 1, 3, 4]),
    ],
)
def test_bad_members_are_shut_out_at_layer_level(
    honest: list[nn.Module], attack: Attack, bad: list[int]
) -> None:
    networks = attacked(honest, attack, bad)
    check(fit(SoftMerge(networks, "layer"), steps=60), honest, bad)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [nan_weights, random_times_a_million, outputs_negated])
def test_bad_members_are_shut_out_at_module_level(honest: list[nn.Module], attack: Attack) -> None:
    networks = attacked(honest, attack, [2])
    check(fit(SoftMerge(networks, "module", align="permutation"), steps=60), honest, [2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [outputs_negated, trained_on_false_labels, outputs_in_another_order, times_a_million]
)
def test_gates_alone_shut_out_bad_members_at_model_level_without_screening(
    honest: list[nn.Module], attack: Attack
) -> None:
    networks = attacked(honest, attack, [0, 3])
    result = fit(SoftMerge(networks, "model", screen=False), steps=300)
    check(result, honest, [0, 3])
    assert not result.gates.dropped


def test_the_report_says_why_in_words(honest: list[nn.Module]) -> None:
    networks = [copy.deepcopy(network) for network in honest]
    one_infinite_value(networks[0], 0)
    sign_flipped(networks[1], 1)
    with torch.no_grad():
        networks[2].head.weight.mul_(1e6)
        networks[2].head.bias.mul_(1e6)
    result = fit(SoftMerge(networks, "model"), steps=20)
    fates = result.gates.fates()
    assert fates[0] == "screened out: its outputs are not finite"
    assert fates[2].startswith("screened out: its outputs are ")
    assert "times as large as those of member" in fates[2]
    assert {"0", "2"} <= {
        k
        for k, fate in result.to_dict()["gates"]["members"].items()
        if fate.startswith("screened out")
    }
    assert "member 0: screened out: its outputs are not finite" in str(result)


@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_tensors_of_unscreened_members_are_masked_where_they_are(
    honest: list[nn.Module], level: str, value: float
) -> None:
    networks = [copy.deepcopy(network) for network in honest[:3]]
    networks[1].hidden.weight.data[0, 0] = value
    networks[2].conv1.bias.data[0] = value
    soft = SoftMerge(networks, level, align="none", reference=0, screen=False)
    table = soft.gates()
    assert soft.masked == {
        ("hidden", 1): "'hidden.weight' is not finite",
        ("conv1", 2): "'conv1.bias' is not finite",
    }
    assert table.masked == soft.masked
    shut = {
        (name, k)
        for name, row in zip(table.names, table.values, strict=True)
        for k in range(3)
        if row[k] == 0
    }
    assert shut == {("hidden", 1), ("conv1", 2)}
    assert "hidden, member 1: masked, 'hidden.weight' is not finite" in str(table)
    assert {"part": "conv1", "member": 2, "why": "'conv1.bias' is not finite"} in table.to_dict()[
        "masked"
    ]
    x = TEST[0][0]
    assert bool(soft(x).isfinite().all())
    soft(x).square().mean().backward()
    assert soft.gate.log_alpha.grad is not None
    assert bool(soft.gate.log_alpha.grad.isfinite().all())
    assert bool((soft.gate.log_alpha.grad[~soft.gate.alive] == 0).all())
    assert all(bool(p.isfinite().all()) for p in soft.harden().parameters())
    result = fit_gates(soft, noisy(256, 0), steps=5, fallback=False)
    assert bool(result.model(x).isfinite().all())


def test_a_part_that_is_broken_in_every_member_is_refused_by_name(honest: list[nn.Module]) -> None:
    networks = [copy.deepcopy(network) for network in honest[:2]]
    for network in networks:
        network.hidden.weight.data[0, 0] = float("nan")
    for level in ("layer", "module"):
        with pytest.raises(
            MembersError,
            match=(
                "'hidden' holds NaN or infinity in every member, so nothing of it can be kept;"
                " exclude it"
            ),
        ):
            SoftMerge(networks, level, align="none", reference=0, screen=False)


@pytest.mark.parametrize("level", ["layer", "module"])
def test_a_broken_reference_can_be_repaired_with_the_parts_of_others(
    honest: list[nn.Module], level: str
) -> None:
    """A norm of 1e23 next to honest weights: the gates of a shut member weigh exactly nothing."""
    networks = [copy.deepcopy(honest[0]) for _ in range(3)]
    networks[0].hidden.weight.data.mul_(float("nan"))
    networks[1].hidden.weight.data.mul_(1e23)
    soft = SoftMerge(networks, level, include="hidden", align="none", reference=0, screen=False)
    soft.gate.log_alpha.data.copy_(torch.tensor([[5.0, -5.0, 5.0]]))
    x = TEST[0][0]
    with torch.no_grad():
        assert torch.equal(soft(x), honest[0](x))
        assert torch.equal(soft.harden()(x), honest[0](x))


def test_a_perfect_member_times_a_million_does_not_screen_out_the_honest_ones() -> None:
    """Its loss is exactly 0, the lowest, so that nobody may be measured against its outputs."""
    networks = members(Plain, 5)
    data = [(x, networks[0](x).argmax(-1).detach()) for x, _ in loader(512)]
    soft = SoftMerge(attacked(networks, times_a_million, [0]), "model").prepare(data)
    assert soft.scores is not None
    assert soft.scores[0].loss == 0
    assert set(soft.dropped) == {0}, soft.dropped


@pytest.mark.slow
@pytest.mark.parametrize("level", ["layer", "module"])
def test_broken_statistics_are_masked_as_broken_weights_are(level: str) -> None:
    networks = members(Residual, 2)
    networks[1].norm1.running_var[0] = float("nan")
    soft = SoftMerge(networks, level, align="none", reference=0, screen=False)
    assert soft.masked == {("norm1", 1): "'norm1.running_var' is not finite"}
    assert bool(soft.eval()(TEST[0][0]).isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("level", ["model", "layer"])
@pytest.mark.parametrize("bad", [[1], [0, 1, 3, 4]], ids=["one", "four"])
def test_flipping_every_sign_costs_no_accuracy(
    honest: list[nn.Module], level: str, bad: list[int]
) -> None:
    """With an even number of layers such a network may still be a fair classifier, up to 89 % here:
    it may stay as long as it does no harm.
    """
    networks = attacked(honest, sign_flipped, bad)
    result = fit(SoftMerge(networks, level), steps=100)
    best = best_of(honest, bad)
    assert accuracy(result.model) >= best.accuracy - 0.005 - best.accuracy_error


@pytest.mark.slow
def test_a_flipped_member_beside_overconfident_ones_costs_no_accuracy() -> None:
    """Members that never saw so much noise are wrong with great confidence, which a member of small
    outputs may serve to lower.
    """
    networks = attacked(members(Plain, 5), sign_flipped, [1])
    result = fit(SoftMerge(networks, "model"), steps=200)
    best = max(
        (onefold.evaluate(networks[k], TEST) for k in (0, 2, 3, 4)),
        key=lambda scores: scores.accuracy,
    )
    assert accuracy(result.model) >= best.accuracy - 0.005 - best.accuracy_error


@pytest.mark.slow
def test_the_aligned_average_leaves_out_who_was_screened_out() -> None:
    networks = attacked(members(Residual, 3), outputs_negated, [2])
    found = align(networks, loader(256), method="permutation")
    soft = SoftMerge(networks, "layer", align=found).prepare(loader(256))
    assert list(soft.dropped) == [2]
    average = aligned_average(soft, Examples.of(loader(256)))
    expected = merge(
        networks[:2], loader(256), align="permutation", repair="batchnorm", fold="average"
    ).model
    assert average is not None
    torch.testing.assert_close(average.head.weight, expected.head.weight, rtol=1e-3, atol=1e-3)


def test_a_network_of_lower_loss_is_not_chosen_where_it_is_clearly_less_accurate() -> None:
    """Members that lack classes have a high loss; a poor network that knows a little of all has a
    lower one.
    """
    from onefold.fold.soft.choice import near_the_top

    def scores(accuracy: float) -> Scores:
        return Scores.of_classifier(accuracy, 1.0, 0.0, 0.5, 150)

    found = {"gated": scores(0.39), "member 1": scores(0.50), "aligned average": scores(0.49)}
    losses = {"gated": 1.6, "member 1": 2.0, "aligned average": 1.9}
    assert near_the_top(list(found), found, losses) == ["member 1", "aligned average"]
    assert near_the_top(["gated", "member 1"], found, losses) == ["member 1"]
