"""Rounds of persistent training: they restart and resume bit for bit; mistakes are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from persistent_runs import STEPS, run_of, train
from small_networks import Plain, Residual, examples
from soft_networks import bits, random_network, same_bits
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, OnefoldError, PersistentError, SettingError
from onefold.explore.persistent.snapshot import unwrapped


def test_restart_brings_back_the_initialisation_bit_for_bit() -> None:
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        network.head.bias[0] = -0.0
    identities, before = [id(p) for p in network.parameters()], bits(network)
    run = onefold.PersistentTraining(network, STEPS)
    train(network, run)
    assert not torch.equal(network.norm0.running_mean, before["norm0.running_mean"])
    run.record(1.0)
    run.restart()
    assert all(
        torch.equal(t.view(torch.uint8), before[n].view(torch.uint8))
        for n, t in bits(network).items()
        if t.dim()
    )
    assert same_bits(bits(network), before)
    assert network.norm0.num_batches_tracked == 0
    assert all(p.grad is None for p in network.parameters())
    assert [id(p) for p in network.parameters()] == identities
    assert unwrapped(run.model) is network is run.model
    assert (run.round, run.steps) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"control": True},
        {"mirror": True},
        {"store": True},
        {"precision": "bfloat16"},
        {"kernel": "function"},
        {"kernel": "cosine"},
    ],
)
def test_a_resumed_run_goes_on_to_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    options = {**options, "store": tmp_path / "rounds"} if "store" in options else options
    if options.get("kernel") == "function":
        options = {**options, "reference": examples(8, 3)}
    torch.manual_seed(0)
    network = Residual()
    run = onefold.PersistentTraining(network, STEPS, seed=4, **options)
    train(network, run)
    run.record(0.5)
    run.restart("new")
    optimiser = train(network, run, 3)
    torch.save(
        {
            "run": run.state_dict(),
            "model": network.state_dict(),
            "optimiser": optimiser.state_dict(),
        },
        tmp_path / "state.pt",
    )

    def finish(
        network: nn.Module, run: onefold.PersistentTraining, optimiser: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        train(network, run, STEPS - 3, optimiser, 3)
        run.record(0.7)
        run.restart()
        train(network, run)
        run.record(0.6)
        return bits(network)

    expected = finish(network, run, optimiser)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.manual_seed(9)
    other = Residual()
    again = onefold.PersistentTraining(other, STEPS, seed=1, **options)
    again.load_state_dict(state["run"])
    other.load_state_dict(state["model"])
    optimiser = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9)
    optimiser.load_state_dict(state["optimiser"])
    assert same_bits(finish(other, again, optimiser), expected)
    assert again.scores == run.scores == [0.5, 0.7, 0.6]
    assert same_bits(bits(again.best()), bits(run.best()))
    assert again.seed == 4


def test_the_order_of_the_data_is_the_first_or_a_new_one() -> None:
    run = run_of(random_network(Plain, 0), 0)
    seeds = [run.order_seed]
    for order in ("same", "new", "new", "same"):
        run.record(0.0)
        run.restart(order)
        seeds.append(run.order_seed)
    assert seeds[0] == seeds[1] == seeds[4]
    assert len(set(seeds)) == 3
    for _ in range(2):
        run.restart("new", abandon=True)
        assert run.order_seed not in seeds
        seeds.append(run.order_seed)
    torch.Generator().manual_seed(seeds[2])


MISTAKES: list[tuple[dict[str, Any], type[OnefoldError], str]] = [
    ({"strength": -1.0}, PersistentError, "strength is a number of 0 or more, not -1.0"),
    ({"strength": float("nan")}, PersistentError, "strength is a number of 0 or more, not nan"),
    ({"strength": float("inf")}, PersistentError, "not inf"),
    ({"strength": "big"}, SettingError, "strength as a number, not 'big'"),
    ({"width": 0.0}, PersistentError, "width is a number above 0, not 0.0"),
    ({"anneal": (0.8, 0.5)}, PersistentError, r"0 <= a <= b <= 1, not \(0.8, 0.5\)"),
    ({"anneal": (0.8,)}, PersistentError, "0 <= a <= b <= 1"),
    ({"anneal": 0.5}, SettingError, "anneal as a list of numbers, not 0.5"),
    ({"steps_per_round": 0}, PersistentError, "at least 1, not steps_per_round=0"),
    ({"steps_per_round": 1.5}, SettingError, "as a whole number, not 1.5"),
    ({"memory": 0}, PersistentError, "at least 1, or None for all, not 0"),
    ({"seed": -1}, PersistentError, "seed is a whole number"),
    ({"kernel": "gausian"}, PersistentError, "no kernel named 'gausian'; did you mean 'gaussian'?"),
    ({"kernel": "function"}, PersistentError, "'function' compares predictions; pass reference="),
    ({"kernel": "function", "reference": torch.zeros(3, 5)}, DataError, "cannot run on"),
    (
        {"reference": torch.zeros(2, 1, 8, 8)},
        PersistentError,
        "'gaussian' compares parameters; leave reference= out",
    ),
    ({"scope": ["hed"]}, SettingError, "'hed' of `include` matches no part"),
    ({"scope": "hed"}, SettingError, "did you mean 'head'?"),
    ({"scope": []}, SettingError, "is empty"),
    ({"exclude": ["nothing"]}, SettingError, "'nothing' of `exclude` matches no part"),
    ({"exclude": ["*"]}, SettingError, "No part of the network is left"),
    ({"scope": "last:9"}, PersistentError, "this network has 4, so give last:n with n from 1 to 4"),
    ({"scope": "last:two"}, PersistentError, "'last:two' names no layers"),
    ({"precision": "int8"}, PersistentError, "not in 'int8'"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), MISTAKES, ids=[m[2][:30] for m in MISTAKES]
)
def test_options_out_of_range_are_one_sentence(
    options: dict[str, Any], error: type[OnefoldError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        onefold.PersistentTraining(Plain(), **{"steps_per_round": 4, **options})
    assert "\n" not in str(raised.value)


def test_rounds_out_of_order_are_refused() -> None:
    network = random_network(Plain, 0)
    run = onefold.PersistentTraining(network, STEPS)
    acts: list[tuple[Callable[[], object], str]] = [
        (run.restart, r"Round 0 has no recorded solution yet; call record\(score\)"),
        (run.best, r"No round has been recorded yet, so there is nothing for best\(\)"),
        (run.ensemble, r"nothing for ensemble\(\)"),
        (lambda: run.network(0), "no recorded round 0"),
        (lambda: run.restart("other"), "not 'other'"),
        (lambda: run.record("good"), "not 'good'"),
        (lambda: run.record(float("nan")), "score is NaN"),
    ]
    for act, message in acts:
        with pytest.raises(PersistentError, match=message):
            act()
    run.record(1.0)
    with pytest.raises(PersistentError, match="Round 0 is recorded already; call restart"):
        run.record(1.0)
    with pytest.raises(PersistentError, match="cannot be abandoned"):
        run.restart(abandon=True)


def test_a_diverged_round_is_refused_by_name_and_can_be_repeated() -> None:
    network = random_network(Residual, 0)
    before, run = bits(network), onefold.PersistentTraining(network, STEPS)
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(
        PersistentError,
        match=r"Round 0 ended in no solution: 'conv1.weight' holds NaN .* restart\(abandon=True\)",
    ):
        run.record(0.1)
    assert run.solutions == []
    run.restart(abandon=True)
    assert (run.round, run.steps) == (0, 0)
    assert same_bits(bits(network), before)


def test_a_model_that_changed_between_rounds_is_refused() -> None:
    network = random_network(Plain, 0)
    run = onefold.PersistentTraining(network, STEPS)
    head = network.head
    network.head = nn.Linear(12, 5)
    with pytest.raises(
        PersistentError,
        match=r"'head.weight' was \(4, 12\) of float32 and is now \(5, 12\) of float32",
    ):
        run.record(1.0)
    network.head = head
    run.record(1.0)
    network.extra = nn.Linear(1, 1)
    with pytest.raises(PersistentError, match=r"'extra.weight' was not there and is now \(1, 1\)"):
        run.restart()
    del network.extra
    network.double()
    with pytest.raises(PersistentError, match="of float64"):
        run.restart()
    with pytest.raises(PersistentError, match="no trainable parameter"):
        onefold.PersistentTraining(nn.ReLU(), 1)


def test_a_state_of_another_run_is_refused() -> None:
    state = run_of(random_network(Plain, 0)).state_dict()
    for options, message in (
        ({"kernel": "cosine"}, "another kernel"),
        ({"scope": "head"}, "another scope"),
        ({"precision": "float16"}, "precision"),
    ):
        with pytest.raises(PersistentError, match=message):
            onefold.PersistentTraining(Plain(), STEPS, **options).load_state_dict(state)
    wider = Plain()
    wider.head = nn.Linear(12, 9)
    with pytest.raises(PersistentError, match="has changed since round 0"):
        onefold.PersistentTraining(wider, STEPS).load_state_dict(state)
