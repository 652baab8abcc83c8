"""Gates learned in several processes: equal on all of them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from process_groups import in_a_group, run_both
from small_networks import loader
from soft_networks import TEST, set_gates, unaligned
from torch import nn

from onefold.fold import SoftMerge, fit_gates
from onefold.fold.soft.candidates import aligned_average
from onefold.fold.soft.examples import Examples


@in_a_group
def process(rank: int, folder: str) -> None:
    """One of two processes, each with its own part of the data."""
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


@pytest.fixture(scope="module")
def two_ranks(
    tmp_path_factory: pytest.TempPathFactory, residual: list[nn.Module]
) -> list[dict[str, list[object]]]:
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(residual, folder / "members.pt")
    run_both(process, f"file://{folder}/meeting", str(folder))
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["model", "layer"])
def test_a_loop_of_ones_own_under_ddp_keeps_gates_and_noise_equal(
    two_ranks: list[dict[str, list[object]]], level: str
) -> None:
    first, second = (report[f"own loop, {level}"] for report in two_ranks)
    assert len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[1], first[2]), "the noise is the same in every step"


@pytest.mark.slow
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


@pytest.mark.slow
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
