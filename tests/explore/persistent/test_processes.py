"""Persistent training in several processes: gradients, solutions and scores are shared."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from persistent_runs import STEPS, definition, distance, found, move
from process_groups import in_a_group, run_both
from small_networks import Plain, examples
from soft_networks import random_network, same_bits
from torch import nn

import onefold
from onefold.errors import PersistentError


@in_a_group
def _rank(rank: int, folder: str) -> None:
    """One of two processes: two rounds, and then the gradients of a step on half of a batch."""
    refused = ""
    try:
        onefold.PersistentTraining(random_network(Plain, rank), STEPS)
    except PersistentError as error:
        refused = str(error)
    network = random_network(
        Plain, rank
    )  # what ranks start from differs until the wrapper tells them
    parallel = nn.parallel.DistributedDataParallel(network)
    run, (x, y) = (
        onefold.PersistentTraining(parallel, STEPS, store=f"{folder}/rounds"),
        examples(16, 0),
    )
    half = slice(8 * rank, 8 * rank + 8)
    for score in range(2):
        optimiser = torch.optim.SGD(parallel.parameters(), 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            (F.cross_entropy(parallel(x[half]), y[half]) + run.penalty()).backward()
            optimiser.step()
            run.step()
        run.record(score + 10 * rank)
        run.restart()
    move(network, 5)
    parallel.zero_grad()
    expected = definition(run)[1]
    loss = {
        n: g.clone()
        for n, g in zip(
            expected,
            torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters())),
            strict=True,
        )
    }
    for _ in range(2):  # the second time tells whether the first left the reducer ready
        parallel.zero_grad()
        (F.cross_entropy(parallel(x[half]), y[half]) + run.penalty()).backward()
    result = {
        "found": found(run),
        "expected": {n: g + loss[n] for n, g in expected.items()},
        "scores": run.scores,
        "refused": refused,
    }
    torch.save({**result, "best": run.best().state_dict()}, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_share_gradients_solutions_and_scores() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_both(_rank, f"file://{folder}/store", folder)
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank in ranks:
        assert distance(rank["found"], rank["expected"]) < 1e-5
        assert rank["scores"] == [0.0, 1.0]
        assert "begin with different weights" in rank["refused"]
    assert same_bits(ranks[0]["best"], ranks[1]["best"])
