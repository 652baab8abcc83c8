"""Processes that were given different things refuse to go on, each in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, OnefoldError, RanksError
from onefold.sources import DiskMembers
from onefold.sources.agreement import check_ranks_agree


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def batches(count: int = 4) -> list[Tensor]:
    return [torch.randn(32, 6, generator=torch.Generator().manual_seed(k)) for k in range(count)]


def mean(states: Any, weights: Any, reference: int = 0) -> Any:
    """A fold of the user's own, whose address differs between processes."""
    return {k: sum(w * s[k] for w, s in zip(weights, states, strict=True)) for k in states[0]}


def members(*seeds: int) -> list[nn.Module]:
    return [network(seed) for seed in seeds]


def merge(models: Any, data: Any, **settings: Any) -> Any:
    return onefold.merge(models, data, **{"fold": "average", **settings}).model


def labeled(data: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(x, x.sum(1).gt(0).long()) for x in data]


# What each of two ranks does -> words of both ranks' sentence.
CASES: dict[str, tuple[Callable[[int, Path], Any], str]] = {
    "another order": (
        lambda r, _: merge(members(r, 1 - r), batches(), fold="average"),
        "weights or their order",
    ),
    "another member": (
        lambda r, _: merge(members(0, 1 + r), batches(), fold="average"),
        "weights or their order",
    ),
    "one fewer": (
        lambda r, _: merge(members(*range(3 - r)), batches(), fold="average"),
        "number differs",
    ),
    "another matcher": (
        lambda r, _: merge(
            members(0, 1), batches(), align=["cca", "permutation"][r], fold="average"
        ),
        "'align' differs",
    ),
    "another setting": (
        lambda r, _: merge(
            members(0, 1), batches(), align=onefold.CCA(prior=0.1 + r), fold="average"
        ),
        "'align' differs",
    ),
    "another seed": (
        lambda r, _: merge(members(0, 1), batches(), seed=r, fold="average"),
        "'seed' differs",
    ),
    "a wrong argument on one": (
        lambda r, _: merge(
            members(0, 1), batches(), repair=["full", "none", "ful"][2 * r], fold="average"
        ),
        "There is no repair 'ful'",
    ),
    "less data": (
        lambda r, _: merge(members(0, 1), batches(4 + r), fold="average"),
        "number of batches",
    ),
    "align": (
        lambda r, _: onefold.align(members(r, 1 - r), batches(), method="cca"),
        "weights or their order",
    ),
    "partial merge": (
        lambda r, _: onefold.partial_merge(members(0, 1), batches(), until=["0", "1"][r]),
        "'until' differs",
    ),
    "gates": (
        lambda r, _: onefold.SoftMerge(members(0, r)).prepare(labeled(batches())),
        "weights or their order",
    ),
    "files": (
        lambda r, folder: merge(on_disk(folder, r, 1 - r), batches(), fold="average"),
        "weights or their",
    ),
    "a spoiled file on one": (lambda r, folder: spoiled(folder, r), "is cut short"),
}


def on_disk(folder: Path, *seeds: int) -> DiskMembers:
    files = [folder / f"{seed}.safetensors" for seed in seeds]
    return DiskMembers(lambda: network(9), files)


def spoiled(folder: Path, rank: int) -> Any:
    models = on_disk(folder, 0, 1 + rank)
    if rank:
        (folder / "2.safetensors").write_bytes(b"nothing")
    return merge(models, batches(), fold="average")


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    said: dict[str, str] = {}
    for name, (attempt, _) in CASES.items():
        try:
            attempt(rank, Path(folder))
        except OnefoldError as error:
            said[name] = str(error)
        torch.distributed.barrier()
    right = merge(members(0, 1), batches(), fold=mean, align="permutation")
    if rank == 0:
        try:
            torch.save((said, right.state_dict()), f"{folder}/0.pt")
            merge(members(0, 1), batches(), fold="average")  # the other rank has ended by then
        except RanksError as error:
            torch.save(str(error), f"{folder}/gone.pt")
        return
    torch.save((said, right.state_dict()), f"{folder}/1.pt")


@pytest.mark.slow
def test_ranks_that_disagree_are_told_apart_in_one_sentence(tmp_path: Path) -> None:
    for seed in range(3):
        onefold.save(network(seed), tmp_path / f"{seed}.safetensors")
    torch.multiprocessing.start_processes(
        _rank, args=(str(tmp_path),), nprocs=2, start_method="fork"
    )
    (first, state), (second, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, (_, words) in CASES.items():
        for said in (first, second):
            assert name in said, f"{name}: nothing was said"
            assert re.search(words, said[name]), said[name]
    assert all(torch.equal(state[key], other[key]) for key in state)
    gone = torch.load(tmp_path / "gone.pt")
    assert "Rank 0 cannot reach the other processes" in gone
    assert gone.count(". ") == 0


def test_one_process_agrees_with_itself() -> None:
    check_ranks_agree(members(0, 1), None, align=object())
    with pytest.raises(DataError, match="no batch"):
        onefold.merge(members(0, 1), [], fold="average")
