"""A process that is killed is named as what it was, with what goes on from there."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import onefold
from onefold.errors import DataError, RanksError
from onefold.lost_processes import ending, workers_named
from onefold.processes import launch
from onefold.sources import build_model

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of POSIX")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-signal.SIGKILL, "was killed (SIGKILL), as the system does when memory runs out"),
        (-signal.SIGTERM, "was ended from outside (SIGTERM)"),
        (-signal.SIGSEGV, "crashed (SIGSEGV)"),
        (-signal.SIGABRT, "crashed (SIGABRT)"),
        (-1000, "was ended by signal 1000"),
        (3, "ended with exit status 3"),
    ],
)
def test_how_a_process_ended(status: int, words: str) -> None:
    assert ending(status) == words


# ---- workers of a data loader


class Ends(Dataset[Tensor]):
    """Examples, one of which ends the process that reads it, if that is a worker."""

    def __init__(self, how: int) -> None:
        self.how, self.main = how, os.getpid()

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int) -> Tensor:
        if index == 70 and os.getpid() != self.main:
            time.sleep(0.3)  # until the batches before are taken
            if self.how > 0:
                os._exit(self.how)
            os.kill(os.getpid(), -self.how)
        return torch.randn(4, generator=torch.Generator().manual_seed(index))


def members() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval() for _ in range(2)]


CALLS: dict[str, Callable[[Any], Any]] = {
    "merge": lambda data: onefold.merge(members(), data, align="permutation"),
    "align": lambda data: onefold.align(members(), data),
    "compare": lambda data: onefold.compare_networks(members(), data),
    "fit": lambda data: onefold.merge(members(), data, fold="least_squares"),
}


@needs_fork
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (-signal.SIGKILL, r"was killed \(SIGKILL\), as the system does when memory runs out"),
        (-signal.SIGSEGV, r"crashed \(SIGSEGV\)"),
        (7, "ended with exit status 7"),
    ],
)
def test_a_worker_of_a_loader_that_ends_is_named(call: str, how: int, words: str) -> None:
    loader = DataLoader(Ends(how), batch_size=8, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(DataError) as caught:
        CALLS[call](loader)
    said = str(caught.value)
    assert re.fullmatch(
        # a worker that ends while its tensors are taken over leaves no word of how
        f"A worker process of the data loader ({words}|has ended); give the loader fewer workers"
        r" \(num_workers=0 shows an error of the data set itself\) or smaller batches, and run"
        r" again\.",
        said,
    )


def test_the_loss_is_found_behind_the_error_that_it_caused() -> None:
    """torch raises it in the midst of whatever runs, which may take it for its own failure."""

    def told_as_the_network_s() -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        except RuntimeError as error:
            raise DataError("The network cannot run on batch 3.") from error

    with pytest.raises(DataError, match="A worker process of the data loader was killed"):
        workers_named()(told_as_the_network_s)()
    with pytest.raises(DataError, match="has ended"), workers_named():
        raise RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly")
    with pytest.raises(RuntimeError, match=r"^another$"), workers_named():
        raise RuntimeError("another")


# ---- processes that are started here


def _ends(fabric: Any, how: int, folder: str) -> None:
    """Rank 1 ends; rank 0 waits for it in a sum."""
    if fabric.global_rank == 1:
        while not Path(folder, "waits").exists():
            time.sleep(0.01)
        if how == 0:
            raise RuntimeError("a fault of the network's own")
        if how > 0:
            os._exit(how)
        os.kill(os.getpid(), -how)
    Path(folder, "waits").touch()
    torch.distributed.all_reduce(torch.ones(1))


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            -signal.SIGKILL,
            r"was killed \(SIGKILL\), as the system does when memory runs out; go on so; fewer"
            " --devices or smaller batches need less",
        ),
        (5, "ended with exit status 5; go on so"),
    ],
)
def test_a_process_that_ends_is_named_with_what_goes_on(
    how: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(RanksError) as caught:
        launch(_ends, (how, str(tmp_path)), torch.device("cpu"), 2, again="go on so")
    # the other one may tell first, which knows no more
    lost = "One of 2 processes has ended; go on so"
    assert re.fullmatch(rf"(Rank 1 of 2 processes {words}|{lost})\.", str(caught.value))


@pytest.mark.slow
def test_an_error_of_a_process_is_not_taken_for_its_loss(tmp_path: Path) -> None:
    said = "Rank 1 of 2 processes failed with RuntimeError: a fault of the network's own; the same"
    with pytest.raises(RanksError, match=f"^{said} with --debug, or in one process, shows where.$"):
        launch(_ends, (0, str(tmp_path)), torch.device("cpu"), 2)


# ---- commands

DATA = """
import os, signal, torch

def batches(split, batch_size=16, shuffle=False, seed=0):
    if os.environ.get("LOCAL_RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 8, 8, generator=generator)
    return [(x[k : k + 16], torch.arange(16) % 10) for k in range(0, 64, 16)]
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        (["merge", "a.safetensors", "b.safetensors", "-o", "x.safetensors"], "begins again"),
        (
            ["subspace", "--shape", "line", "--epochs", "2", "-o", "run"],
            "the same command with --resume goes on from the last whole epoch",
        ),
    ],
)
def test_a_command_names_a_killed_process_and_what_goes_on(
    command: list[str],
    goes_on: str,
    refused: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(DATA)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        onefold.save(build_model("digits?width=4"), tmp_path / f"{name}.safetensors")
    data = ["--model", "digits?width=4", "--data", "own.py:batches", "--devices", "2"]
    said = refused(*command, *data)
    assert "processes" in said
    assert "was killed (SIGKILL), as the system does when memory runs out" in said or (
        "One of 2 processes has ended" in said
    )
    assert goes_on in said
    assert not (tmp_path / "x.safetensors").exists()
