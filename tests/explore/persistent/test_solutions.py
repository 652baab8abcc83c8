"""Recorded solutions: in memory and on disk, as plain copies, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from persistent_runs import STEPS, check, definition, move, run_of
from small_networks import Plain, Residual
from soft_networks import Tied, bits, inputs_for, random_network, same_bits
from torch import nn

import onefold
from onefold.errors import MembersError, OutputError, PersistentError


def test_memory_keeps_the_last_solutions_near_and_all_recorded() -> None:
    run = run_of(random_network(Plain, 0, torch.float64), 3, memory=1)
    expected = definition(run, [run.solutions[2].snapshot().parameters])
    check(run, expected, 1e-12)
    assert run.scores == [0, 1, 2]
    before = run_of(random_network(Plain, 0, torch.float64), 2)
    value, before.repulsion = before.penalty().item(), None
    before.record(2.0)  # it repels from the next round on
    assert before.penalty().item() == value
    before.repulsion.device = torch.device("meta")  # as if the network had been moved since
    before.penalty()
    assert before.repulsion.device.type == "cpu"
    assert len(run.ensemble().members) == 3


def test_best_and_ensemble_are_plain_copies() -> None:
    network = random_network(Residual, 0)
    run = onefold.PersistentTraining(network, STEPS)
    ends = []
    for number, score in enumerate([0.3, torch.tensor(0.8), 0.8]):
        move(network, number)
        ends.append(bits(network))
        run.record(score)
        run.restart()
    best = run.best()
    assert type(best) is Residual
    assert best is not network
    assert not best.training
    assert same_bits(bits(best), ends[1])
    assert all(p.grad is None and p.requires_grad for p in best.parameters())
    x = inputs_for(Residual)
    network(x).sum().backward()
    assert all(p.grad is None for p in run.best().parameters())
    together, single = run.ensemble(), [run.network(k)(x) for k in range(3)]
    assert torch.allclose(
        together(x).exp(), torch.stack([s.softmax(-1) for s in single]).mean(0), atol=1e-6
    )
    assert torch.allclose(run.ensemble("logits")(x), torch.stack(single).mean(0), atol=1e-6)
    move(best, 7)
    assert same_bits(bits(run.best()), ends[1])


def test_networks_that_keep_tensors_of_a_graph_can_be_copied_and_others_are_named() -> None:
    layer = nn.utils.weight_norm(nn.Linear(3, 4))
    layer(torch.ones(2, 3)).sum().backward()
    run = run_of(layer, 1)
    layer(torch.ones(2, 3)).sum().backward()
    best = run.best()
    run.start.put_into(layer)
    move(layer, 0)
    assert torch.equal(best(torch.ones(2, 3)), layer(torch.ones(2, 3)))
    layer.drawn = (k for k in range(3))  # type: ignore[assignment]
    with pytest.raises(MembersError, match="Linear cannot be copied, as it holds a generator in"):
        run.best()


def test_what_is_given_out_can_be_changed_without_harm() -> None:
    run = run_of(random_network(Plain, 0))
    before = run.penalty().item()
    for solution in run.solutions:
        for tensor in solution.snapshot().parameters.values():
            tensor.zero_()
    for parameter in [*run.best().parameters(), *run.ensemble().parameters()]:
        parameter.data.zero_()
    run.repulsion = None  # built again from the solutions
    assert run.penalty().item() == before


def test_solutions_on_disk_are_checkpoints_and_those_in_lower_precision_are_near(
    tmp_path: Path,
) -> None:
    exact, disk, low = (
        run_of(random_network(Tied, 0), **o)
        for o in ({}, {"store": tmp_path / "a"}, {"precision": "bfloat16"})
    )
    both = run_of(random_network(Tied, 0), store=tmp_path / "b", precision="float16")
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [
        "round-00.safetensors",
        "round-01.safetensors",
    ]
    plain = Tied()
    plain.load_state_dict(onefold.load(tmp_path / "a" / "round-01.safetensors"))
    assert same_bits(bits(plain), bits(exact.network(1)))
    assert same_bits(bits(disk.network(1)), bits(exact.network(1)))
    for run, error in ((disk, 0.0), (low, 5e-3), (both, 1e-3)):
        assert run.penalty().item() == pytest.approx(
            exact.penalty().item(), rel=1e-2 if error else 1e-12
        )
        found, start = bits(run.network(0)), run.state_dict()["start"][0]
        for name, wanted in exact.solutions[0].snapshot().parameters.items():
            assert (
                (found[name] - wanted).abs()
                <= error * (wanted - start[name]).abs() + 1e-7 * (error > 0)
            ).all()
    assert all(t.dtype == torch.bfloat16 for t in low.solutions[0].stored().values())
    check(low, definition(low), 1e-5)


def test_files_that_are_gone_changed_or_of_another_run_are_refused(tmp_path: Path) -> None:
    run = run_of(random_network(Plain, 0), store=tmp_path / "a")
    state = run.state_dict()
    other = onefold.PersistentTraining(random_network(Plain, 0), STEPS, store=tmp_path / "a")
    for act in (other.step, lambda: other.record(1.0)):
        with pytest.raises(
            PersistentError, match="is a solution of another run; choose an empty folder"
        ):
            act()
    with pytest.raises(PersistentError, match="pass store="):
        onefold.PersistentTraining(random_network(Plain, 0), STEPS).load_state_dict(state)
    file = tmp_path / "a" / "round-00.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PersistentError, match="checksum differs"):
        other.load_state_dict(state)
    file.unlink()
    with pytest.raises(PersistentError, match="is missing"):
        run.network(0)
    with pytest.raises(OutputError, match="cannot be written"):
        onefold.PersistentTraining(Plain(), 1, store=tmp_path / "no" / "such")
