"""Soft merging as a whole: what is shared, changed and kept; parts chosen by name; levels;
precisions; and several processes.
"""

from __future__ import annotations

import copy
import os
import pickle
import socket
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, loader, members
from soft_networks import (
    KINDS,
    Recurrent,
    Tied,
    VisionTransformer,
    bits,
    inputs_for,
    keep_only,
    labelled,
    random_members,
    same_bits,
    set_gates,
)
from torch import Tensor, nn

import onefold
from onefold.alignment import align
from onefold.fold import Mixture, SoftMerge, SoftResult, fit_gates
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.fit import aligned_average

LEVELS = ["model", "module", "layer"]
TEST = loader(512, seed=99, batch=128)


def accuracy(model: nn.Module) -> float:
    return onefold.evaluate(model, TEST).accuracy


def unaligned(networks: list[nn.Module], level: str, **arguments: object) -> SoftMerge:
    return SoftMerge(
        networks, level, **{"align": "none", "reference": 0, "screen": False, **arguments}
    )  # type: ignore[arg-type]


def quick(soft: SoftMerge, steps: int = 5, **arguments: object) -> SoftResult:
    return fit_gates(soft, loader(256), steps=steps, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plain() -> list[nn.Module]:
    return members(Plain, 3)


@pytest.fixture(scope="module")
def residual() -> list[nn.Module]:
    return members(Residual, 3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_log_alphas_are_the_only_parameters(kind: type[nn.Module], level: str) -> None:
    soft = unaligned(random_members(kind, 3), level)
    assert [name for name, _ in soft.named_parameters()] == ["gate.log_alpha"]
    assert set(soft.state_dict()) == {"gate.log_alpha", "gate.alive", "gate._extra_state"}
    rows = {"model": 1, "module": len(soft.sites), "layer": len(soft.sites)}[level]
    assert soft.gate.log_alpha.shape == (rows, 3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("how", ["none", "permutation", "auto"])
def test_members_are_left_bit_for_bit_as_they_were(
    plain: list[nn.Module], residual: list[nn.Module], level: str, how: str
) -> None:
    for trained in (plain, residual) if how != "auto" else (plain,):
        networks = copy.deepcopy(trained)
        networks[0].train()
        networks[1].head.weight.requires_grad_(False)
        networks[2].head.bias.grad = torch.full_like(networks[2].head.bias, 3.0)
        before = [bits(n) for n in networks]
        flags = [
            [m.training for m in n.modules()] + [p.requires_grad for p in n.parameters()]
            for n in networks
        ]
        memory = [[t.data_ptr() for t in n.state_dict().values()] for n in networks]
        quick(SoftMerge(networks, level, align=how))
        assert all(same_bits(bits(n), b) for n, b in zip(networks, before, strict=True))
        assert flags == [
            [m.training for m in n.modules()] + [p.requires_grad for p in n.parameters()]
            for n in networks
        ]
        assert memory == [[t.data_ptr() for t in n.state_dict().values()] for n in networks]
        assert networks[2].head.bias.grad.tolist() == [3.0] * 4
        assert all(
            p.grad is None
            for n in networks
            for name, p in n.named_parameters()
            if n is not networks[2] or name != "head.bias"
        )


def addresses(modules: list[nn.Module]) -> set[int]:
    return {t.data_ptr() for m in modules for t in (*m.parameters(), *m.buffers())}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_shared_and_not_copied(kind: type[nn.Module]) -> None:
    networks = random_members(kind, 3)
    own = addresses(networks)
    layers = unaligned(networks, "layer")._body
    assert addresses([layers.skeleton]) <= own
    assert {
        t.data_ptr() for site in layers.tensors for stack in site.values() for t in stack.tensors
    } <= own
    soft = unaligned(networks, "module")
    modules = soft._body
    mixtures = {m.weights.data_ptr() for m in modules.modules() if isinstance(m, Mixture)}
    statistics = {buffer.data_ptr() for norm in soft._norms.values() for buffer in norm.buffers()}
    assert addresses([modules]) - mixtures - statistics <= own
    assert (
        not statistics & own
    )  # measured anew for the mixture, so that the members' stay as they are
    assert addresses(unaligned(networks, "model")._body) <= own


@pytest.mark.parametrize("level", LEVELS)
def test_same_seed_same_bits(plain: list[nn.Module], level: str) -> None:
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(results))
        soft = SoftMerge(plain, level, align="none", stochastic=True, seed=seed)
        results.append(quick(soft, steps=8, seed=seed, fallback=False))
    assert results[0].losses == results[1].losses
    assert torch.equal(results[0].soft.gate.log_alpha, results[1].soft.gate.log_alpha)
    assert same_bits(bits(results[0].model), bits(results[1].model))
    assert results[0].losses != results[2].losses


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda soft: pickle.loads(pickle.dumps(soft))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("level", LEVELS)
def test_copies_are_independent(level: str, copied: object) -> None:
    soft = unaligned(random_members(Residual, 3), level).eval()
    set_gates(soft)
    x = inputs_for(Residual)
    twin = copied(soft)  # type: ignore[operator]
    with torch.no_grad():
        before = soft(x)
        assert torch.equal(twin(x), before)
        keep_only(twin, 1)
        assert not torch.equal(twin(x), before)
        assert torch.equal(soft(x), before)


# --- parts chosen by name ---


def outside(network: nn.Module, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in bits(network).items() if not name.startswith(prefixes)}


@pytest.mark.parametrize("how", ["none", "permutation"])
@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize(
    "include", [["conv1", "norm1"], ["conv1"], ["norm0"], ["head"], ["conv*"]], ids=" ".join
)
def test_what_is_not_included_stays_bitwise_the_references(
    residual: list[nn.Module], level: str, how: str, include: list[str]
) -> None:
    soft = SoftMerge(residual, level, include=include, align=how, reference=1, data=loader(256))
    set_gates(soft)
    soft.recalibrate(loader(256, seed=8))
    hardened = soft.harden()
    prefixes = ("conv",) if include == ["conv*"] else tuple(f"{name}." for name in include)
    assert same_bits(outside(hardened, prefixes), outside(residual[1], prefixes))
    assert (
        any(
            not torch.equal(v, bits(hardened)[k])
            for k, v in bits(residual[1]).items()
            if k in bits(hardened)
        )
        or level == "module"
    )


def test_only_norms_that_are_gated_are_measured(residual: list[nn.Module]) -> None:
    soft = SoftMerge(
        residual,
        "layer",
        include=["conv2", "norm2"],
        align="permutation",
        reference=0,
        data=loader(256),
    )
    set_gates(soft)
    assert soft.recalibrate(loader(256, seed=8)) == 1
    hardened = soft.harden()
    for name in ("norm0", "norm1"):
        assert same_bits(bits(hardened.get_submodule(name)), bits(residual[0].get_submodule(name)))
    assert not torch.equal(hardened.norm2.running_mean, residual[0].norm2.running_mean)
    assert unaligned(residual, "layer", include="conv*").recalibrate(loader(64)) == 0


def test_statistics_are_measured_behind_ungated_norms_in_eval_mode(
    residual: list[nn.Module],
) -> None:
    soft = unaligned(residual, "layer", include=["conv2", "norm2"])
    set_gates(soft)
    data = loader(256, seed=8)
    soft.recalibrate(data)
    hardened = soft.harden()
    seen: list[Tensor] = []
    hardened.conv2.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    with torch.no_grad():
        for x, _ in data:
            hardened(x)
    torch.testing.assert_close(hardened.norm2.running_mean, torch.cat(seen).mean((0, 2, 3)))


def test_norms_in_mixtures_are_measured_where_they_stand(residual: list[nn.Module]) -> None:
    """A norm behind a mixture sees sums of members' features, whose deviations are smaller than its
    own member's.
    """
    before = [copy.deepcopy(bits(network)) for network in residual]
    soft = unaligned(residual, "module")
    set_gates(soft)
    with torch.no_grad():
        soft.gate.log_alpha[:, 2] = -10.0  # out everywhere
    data = loader(256, seed=8)
    with torch.no_grad():
        before_training = soft.eval()(data[0][0])
        training = soft.train()(data[0][0])  # the statistics of the batch
        evaluated = soft.eval()(data[0][0])
    torch.testing.assert_close(
        evaluated, before_training, rtol=0, atol=0
    )  # a step in training mode leaves no trace
    norms = [site.name for site in soft.sites if site.name.startswith("norm")]
    assert soft.recalibrate(data) == 2 * len(norms)
    hardened = soft.harden()
    seen: dict[str, list[Tensor]] = {name: [] for name in norms}
    for name in norms:
        hardened.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: seen[name].append(args[0].detach())
        )
    with torch.no_grad():
        for x, _ in data:
            hardened(x)
    first = norms[0]  # nothing before it is measured, so that its input is the same in both passes
    for part in hardened.get_submodule(first).parts:
        torch.testing.assert_close(part.running_mean, torch.cat(seen[first]).mean((0, 2, 3)))
    idle = soft._body.get_submodule(first).parts[2]
    torch.testing.assert_close(
        idle.running_mean, residual[2].get_submodule(first).running_mean, rtol=0, atol=0
    )
    assert not torch.allclose(training, evaluated)
    assert not torch.allclose(soft(data[0][0]), evaluated)
    torch.testing.assert_close(
        soft.train()(data[0][0]), training
    )  # training keeps no statistics, whatever was measured
    assert all(same_bits(bits(network), old) for network, old in zip(residual, before, strict=True))


@pytest.mark.parametrize("level", ["layer", "module"])
def test_a_damaged_block_is_replaced_by_that_of_another_network(
    residual: list[nn.Module], level: str
) -> None:
    whole, damaged = residual[0], copy.deepcopy(residual[0])
    with torch.no_grad():
        for part in (damaged.conv1, damaged.conv2):
            part.weight.copy_(
                3 * torch.randn(part.weight.shape, generator=torch.Generator().manual_seed(0))
            )
    assert accuracy(damaged) < accuracy(whole) - 0.2, (
        "nothing is damaged, so that this test shows nothing"
    )
    soft = SoftMerge(
        [damaged, whole], level, include=["conv1", "conv2"], align="none", reference=0, screen=False
    )
    result = fit_gates(soft, loader(512), steps=100, fallback=False)
    assert accuracy(result.model) > accuracy(whole) - 0.02
    assert bool((result.gates.values[:, 1] > 0.5).all()), str(result)
    prefixes = ("conv1.", "conv2.")
    assert same_bits(outside(result.model, prefixes), outside(damaged, prefixes))


@pytest.mark.parametrize("include", [["lstm"], ["lstm.l1*"]])
def test_directions_and_layers_of_recurrent_modules_have_gates_of_their_own(
    include: list[str],
) -> None:
    soft = unaligned(random_members(Recurrent, 2), "layer", include=include)
    names = ["lstm.l0", "lstm.l0_reverse", "lstm.l1", "lstm.l1_reverse"]
    assert [site.name for site in soft.sites] == (names if include == ["lstm"] else names[2:])
    keep_only(soft, 1)
    hardened = soft.harden()
    moved = {
        name
        for name, value in bits(hardened).items()
        if not torch.equal(value, soft.members[0].state_dict()[name])
    }
    assert moved == {name for site in soft.sites for name in site.tensors}


def test_patterns_and_exclusions() -> None:
    networks = random_members(Residual, 2)

    def names(**arguments: object) -> list[str]:
        return [site.name for site in unaligned(networks, "layer", **arguments).sites]

    assert names() == ["stem", "norm0", "conv1", "norm1", "conv2", "norm2", "head"]
    assert names(include="conv?") == ["conv1", "conv2"]
    assert names(include=["head", "norm*"]) == ["norm0", "norm1", "norm2", "head"]
    assert names(exclude=["norm?", "stem"]) == ["conv1", "conv2", "head"]
    assert names(include="*1", exclude="norm1") == ["conv1"]
    nested = [
        nn.Sequential(
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.ReLU(), nn.Linear(4, 2)
        ).eval()
        for _ in range(2)
    ]
    assert [s.name for s in unaligned(nested, "layer", include="0").sites] == ["0.0", "0.1"]
    assert [s.name for s in unaligned(nested, "module").sites] == ["0", "2"]
    assert [s.name for s in unaligned(nested, "module", include=["0.?", "2"]).sites] == [
        "0.0",
        "0.1",
        "2",
    ]
    assert [s.name for s in unaligned(nested, "module", exclude="2").sites] == ["0"]
    wrapped = [nn.Sequential(inner) for inner in nested]
    assert [s.name for s in unaligned(wrapped, "module").sites] == ["0.0", "0.2"]


@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("how", ["permutation", "cca"])
def test_gates_open_for_the_reference_alone_give_its_function(
    plain: list[nn.Module], residual: list[nn.Module], level: str, how: str
) -> None:
    for networks in (plain, residual) if (level, how) != ("module", "cca") else (plain,):
        soft = SoftMerge(networks, level, align=how, reference=1, data=loader(256)).eval()
        keep_only(soft, 1)
        x = TEST[0][0]
        with torch.no_grad():
            torch.testing.assert_close(soft(x), networks[1](x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(soft.harden()(x), networks[1](x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", ["layer", "module"])
def test_permuted_members_keep_their_functions(
    plain: list[nn.Module], residual: list[nn.Module], level: str
) -> None:
    for networks in (plain, residual):
        soft = SoftMerge(networks, level, align="permutation", reference=0, data=loader(256)).eval()
        x = TEST[0][0]
        for k, network in enumerate(networks):
            keep_only(soft, k)
            with torch.no_grad():
                torch.testing.assert_close(soft(x), network(x), rtol=1e-4, atol=1e-4)


def test_an_alignment_computed_before_gives_the_same_bits(residual: list[nn.Module]) -> None:
    found = align(residual, loader(256), method="permutation", reference=2, targets=False)
    given = SoftMerge(residual, "layer", align=found)
    assert given.reference == 2
    computed = SoftMerge(residual, "layer", align="permutation", reference=2, data=loader(256))
    set_gates(given)
    set_gates(computed)
    assert same_bits(bits(given.harden()), bits(computed.harden()))


@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("include", [None, ["conv2"]], ids=["all", "one"])
def test_the_default_alignment_works_at_every_level(
    residual: list[nn.Module], level: str, include: list[str] | None
) -> None:
    """Also where a dense alignment would be the best, which cannot part a layer from its norm."""
    result = quick(SoftMerge(residual, level, include=include))
    assert accuracy(result.model) > 0.85


# --- levels ---


def test_at_module_level_shut_gates_go_and_one_that_is_left_gives_a_plain_network() -> None:
    networks = random_members(Residual, 3)
    soft = unaligned(networks, "module").eval()
    soft.gate.log_alpha.data.copy_(torch.tensor([[5.0, -5.0, -5.0]]).expand(len(soft.sites), 3))
    soft.gate.log_alpha.data[2] = torch.tensor([-5.0, 0.2, 0.1])
    soft.gate.log_alpha.data[3] = torch.tensor([-5.0, -5.0, 5.0])
    x = inputs_for(Residual)
    hardened = soft.harden()
    with torch.no_grad():
        assert torch.equal(hardened(x), soft(x))
    mixtures = {name: m for name, m in hardened.named_modules() if isinstance(m, Mixture)}
    assert list(mixtures) == [soft.sites[2].name]
    assert len(mixtures[soft.sites[2].name].parts) == 2
    assert isinstance(
        hardened.get_submodule(soft.sites[3].name),
        type(networks[2].get_submodule(soft.sites[3].name)),
    )
    assert same_bits(
        bits(hardened.get_submodule(soft.sites[3].name)),
        bits(networks[2].get_submodule(soft.sites[3].name)),
    )
    assert all(p.requires_grad for p in hardened.parameters())
    assert not addresses([hardened]) & addresses(networks)
    keep_only(soft, 1)
    alone = soft.harden()
    assert type(alone) is Residual
    assert not any(isinstance(m, Mixture) for m in alone.modules())
    assert same_bits(bits(alone), bits(networks[1]))


class Bare(nn.Module):
    """Another architecture with the same outputs, returned as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"hidden": x.flatten(1), "logits": self.head(x.flatten(1))}


def test_at_model_level_architectures_may_differ(
    plain: list[nn.Module], residual: list[nn.Module]
) -> None:
    torch.manual_seed(0)
    networks = [plain[0], residual[0], Bare().eval()]
    soft = SoftMerge(networks, screen=False).eval()
    gates = set_gates(soft)[0]
    x = TEST[0][0]
    expected = (
        gates[0] * plain[0](x) + gates[1] * residual[0](x) + gates[2] * networks[2](x)["logits"]
    )
    torch.testing.assert_close(soft(x), expected)
    with torch.no_grad():
        assert torch.equal(soft.harden()(x), soft(x))
    result = quick(SoftMerge(networks), steps=50)
    assert accuracy(result.model) > 0.95


@pytest.mark.parametrize("stochastic", [True, False])
def test_outputs_are_summed_as_logits_or_as_probabilities(
    plain: list[nn.Module], stochastic: bool
) -> None:
    x = TEST[0][0]
    for outputs in ("logits", "probabilities"):
        soft = SoftMerge(plain, outputs=outputs, stochastic=stochastic).train(stochastic)
        twin = copy.deepcopy(soft.gate)
        set_gates(soft)
        twin.log_alpha.data.copy_(soft.gate.log_alpha)
        gates = twin(stochastic)[0].detach()
        each = torch.stack([n(x).detach() for n in plain])
        if outputs == "logits":
            expected = (gates[:, None, None] * each).sum(0)
        else:
            expected = (gates[:, None, None] * each.softmax(-1)).sum(0).log()
        torch.testing.assert_close(soft(x).detach(), expected, rtol=1e-4, atol=1e-4)
        if not stochastic:
            torch.testing.assert_close(soft.harden()(x).detach(), expected, rtol=1e-4, atol=1e-4)
    result = quick(SoftMerge(plain, outputs="probabilities"), steps=30, fallback=False)
    with torch.no_grad():
        torch.testing.assert_close(result.model(x).softmax(-1), result.soft(x).exp())


class Counting(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> dict[str, object]:
        self.calls += 1
        return {
            "out": self.factor * x,
            "pair": (x, 2 * self.factor * x),
            "count": 3,
            "index": torch.arange(2) + int(self.factor),
        }


def test_a_mixture_sums_nested_outputs_and_does_not_run_parts_of_weight_zero() -> None:
    parts = [Counting(2.0), Counting(float("nan")), Counting(6.0)]
    x = torch.randn(3, 2)
    found = Mixture(parts, torch.tensor([0.25, 0.0, 0.75]))(x)
    assert [part.calls for part in parts] == [1, 0, 1]
    torch.testing.assert_close(found["out"], 5.0 * x)
    torch.testing.assert_close(found["pair"][1], 10.0 * x)
    assert found["count"] == 3
    assert found["index"].tolist() == [2, 3]
    alone = Mixture(parts, torch.tensor([0.0, 0.0, 1.0]))(x)
    torch.testing.assert_close(alone["out"], 6.0 * x)
    assert [part.calls for part in parts] == [1, 0, 2]


# --- precisions and devices ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Plain, Residual, VisionTransformer])
def test_a_training_step_under_autocast(kind: type[nn.Module], level: str) -> None:
    soft = unaligned(random_members(kind, 3), level, stochastic=False).train()
    optimiser = torch.optim.Adam(soft.parameters(), 0.1)
    x, labels = inputs_for(kind), torch.arange(64) % 4
    before = soft.gate.log_alpha.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(soft(x), labels) + 0.01 * soft.penalty()
    loss.backward()
    assert soft.gate.log_alpha.grad is not None
    assert bool(soft.gate.log_alpha.grad.isfinite().all())
    assert float(soft.gate.log_alpha.grad.abs().max()) > 0
    optimiser.step()
    assert not torch.equal(before, soft.gate.log_alpha)
    assert soft.gate.log_alpha.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("level", LEVELS)
def test_members_of_other_precisions(
    residual: list[nn.Module], level: str, dtype: torch.dtype
) -> None:
    networks = [copy.deepcopy(network).to(dtype) for network in residual[:2]]
    data = [(x.to(dtype), y) for x, y in loader(256)]
    result = fit_gates(
        SoftMerge(networks, level, align="none" if level == "model" else "permutation"),
        data,
        steps=3,
    )
    assert result.losses
    assert all(torch.isfinite(torch.tensor(result.losses)))
    hardened = result.soft.harden()
    assert {p.dtype for p in hardened.parameters()} == {dtype}
    test = [(x.to(dtype), y) for x, y in TEST]
    assert hardened(test[0][0]).dtype == dtype
    assert onefold.evaluate(result.model, test).accuracy > 0.85


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_on_a_cuda_device(kind: type[nn.Module], level: str) -> None:
    here, there = (unaligned(random_members(kind, 3), level).eval() for _ in range(2))
    there = unaligned([network.to("cuda") for network in there.members], level).to("cuda").eval()
    for soft in (here, there):
        set_gates(soft)
    x = inputs_for(kind)
    with torch.no_grad():
        torch.testing.assert_close(there(x.to("cuda")).cpu(), here(x), rtol=1e-3, atol=1e-3)
        assert torch.equal(there.harden()(x.to("cuda")), there(x.to("cuda")))
    result = fit_gates(there, labelled(kind), steps=3)
    assert next(result.model.parameters()).device.type == "cuda"


# --- what the result tells ---


def test_the_best_of_the_candidates_on_held_out_data_is_returned(residual: list[nn.Module]) -> None:
    result = fit_gates(SoftMerge(residual, "layer"), loader(512), steps=60)
    assert set(result.scores) == {"gated", "aligned average", "member 0", "member 1", "member 2"}
    assert result.scores[result.choice].accuracy == max(s.accuracy for s in result.scores.values())
    assert result.choice in str(result)
    assert result.to_dict()["choice"] == result.choice
    assert len(result.losses) == 60
    assert set(result.seconds) >= {"screen and align", "learn gates", "choose"}
    assert any(
        "alignment chosen by the loss of the plain average at its best temperature" in note
        for note in result.notes
    )
    assert not result.soft.training
    assert not result.model.training


def test_without_fallback_nothing_is_held_out_and_the_gated_network_is_returned(
    plain: list[nn.Module],
) -> None:
    result = quick(SoftMerge(plain), fallback=False)
    assert result.choice == "gated"
    assert result.scores == {}
    assert str(result).startswith("gated")


def test_the_setting_of_noise_is_as_before_after_learning(plain: list[nn.Module]) -> None:
    for stochastic in (True, False):
        soft = SoftMerge(plain, "layer", align="none", stochastic=stochastic)
        quick(soft)
        assert soft.stochastic is stochastic
    assert SoftMerge(plain).stochastic is True
    assert SoftMerge(plain, "layer").stochastic is False


def test_tied_weights_survive_fitting() -> None:
    soft = unaligned(random_members(Tied, 2), "layer")
    data = [(x, x[:, 0]) for x, _ in labelled(Tied)]
    model = fit_gates(soft, data, steps=3).model
    assert model.head.weight is model.embedding.weight


def test_dropout_is_off_and_ungated_norms_keep_their_statistics_in_training_mode() -> None:
    torch.manual_seed(0)
    networks = [
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
        for _ in range(2)
    ]
    before = [bits(n) for n in networks]
    soft = unaligned(networks, "layer", include=["0", "3"]).train()
    x = torch.randn(16, 8)
    assert torch.equal(soft(x), soft(x))
    assert all(same_bits(bits(n), b) for n, b in zip(networks, before, strict=True))


# --- several processes ---


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def process(rank: int, folder: str, address: str) -> None:
    """One of two processes, each with its own part of the data."""
    os.environ.pop("MASTER_PORT", None)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    report: dict[str, object] = {}
    data = loader(256, seed=10 + rank)
    networks = torch.load(f"{folder}/members.pt", weights_only=False)

    for level in ("model", "layer"):
        soft = unaligned(networks, level, stochastic=True).train()
        parallel = nn.parallel.DistributedDataParallel(soft)
        optimiser = torch.optim.Adam(soft.parameters(), 0.1)
        draws = []
        for x, y in data:
            loss = F.cross_entropy(parallel(x), y) + 0.01 * soft.penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            draws.append(copy.deepcopy(soft.gate)(True).detach())
        report[f"own loop, {level}"] = [soft.gate.log_alpha.detach().clone(), *draws]

    for name, arguments in {
        "model": {"level": "model"},
        "layer": {"level": "layer", "align": "permutation"},
        "layer, auto": {"level": "layer"},
    }.items():
        soft = SoftMerge(networks, **arguments)  # type: ignore[arg-type]
        result = fit_gates(soft, data, steps=10, seed=0)
        report[f"fitted, {name}"] = [soft.gate.log_alpha.detach().clone(), result.gates.values]
        report[f"choice, {name}"] = [result.choice, soft.reference, sorted(soft.dropped)]
        report[f"hardened, {name}"] = list(soft.harden().state_dict().values())
        report[f"returned, {name}"] = list(result.model.state_dict().values())
        if name == "layer":
            average = aligned_average(soft, Examples.of(data))
            assert average is not None
            report["aligned average"] = list(average.state_dict().values())
    torch.save(report, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(
    tmp_path_factory: pytest.TempPathFactory, residual: list[nn.Module]
) -> list[dict[str, list[object]]]:
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(residual, folder / "members.pt")
    torch.multiprocessing.spawn(process, (str(folder), f"tcp://127.0.0.1:{port()}"), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("level", ["model", "layer"])
def test_a_loop_of_ones_own_under_ddp_keeps_gates_and_noise_equal(
    two_ranks: list[dict[str, list[object]]], level: str
) -> None:
    first, second = (report[f"own loop, {level}"] for report in two_ranks)
    assert len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[1], first[2]), "the noise is the same in every step"


@pytest.mark.parametrize("what", ["fitted", "choice", "hardened", "returned"])
@pytest.mark.parametrize("name", ["model", "layer", "layer, auto"])
def test_fit_gates_agrees_on_all_ranks(
    two_ranks: list[dict[str, list[object]]], name: str, what: str
) -> None:
    first, second = (report[f"{what}, {name}"] for report in two_ranks)
    if what == "choice":
        assert first == second
    else:
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_aligned_average_is_the_same_on_all_ranks(
    two_ranks: list[dict[str, list[object]]],
) -> None:
    first, second = (report["aligned average"] for report in two_ranks)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_unprepared_copy_of_the_state_goes_on_with_the_same_gates(
    plain: list[nn.Module],
) -> None:
    soft = unaligned(plain, "layer").eval()
    set_gates(soft)
    other = unaligned(plain, "layer", seed=9).eval()
    other.load_state_dict(soft.state_dict())
    x = TEST[0][0]
    with torch.no_grad():
        assert torch.equal(other(x), soft(x))
    assert torch.equal(other.gate(True), soft.gate(True))
