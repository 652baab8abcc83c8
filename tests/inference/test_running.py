"""Networks on all of the data: predictions, eval mode, several in lockstep and from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, MembersError
from onefold.inference import as_output
from onefold.inference.running import check_runs, eval_mode, networks, outputs_of, predictions
from onefold.sources import DiskMembers


class Times(nn.Module):
    """Multiplies by a number in eval mode, and gives NaN in training mode."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.nan if self.training else self.factor)


def data() -> list[tuple[Tensor, Tensor]]:
    return [(torch.full((n, 2), float(k)), torch.full((n,), k)) for k, n in enumerate((3, 3, 1))]


def test_predictions_are_of_all_batches_in_order() -> None:
    logits, labels = predictions(Times(10.0), data())
    assert logits.tolist() == [[0, 0]] * 3 + [[10, 10]] * 3 + [[20, 20]]
    assert labels is not None
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert predictions(Times(), [x for x, _ in data()])[1] is None
    with pytest.raises(DataError, match="Only 1 of 2 batches have labels"):
        predictions(Times(), [data()[0], data()[1][0]])


def test_eval_mode_ends_with_the_flags_as_they_were_also_after_an_error() -> None:
    model = nn.Sequential(Times(), nn.Dropout())
    model[1].eval()

    def fail() -> None:
        with eval_mode([model]):
            assert not any(module.training for module in model.modules())
            assert not torch.is_grad_enabled()
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.is_grad_enabled()


def test_several_networks_run_batch_by_batch() -> None:
    with eval_mode(models := [Times(1.0), Times(2.0)]):
        found = list(outputs_of(models, data(), "Running", as_output(None)))
    assert [[float(y[0, 0]) for y in outputs] for outputs, _ in found] == [[0, 0], [1, 2], [2, 4]]
    assert [batch.index for _, batch in found] == [0, 1, 2]
    wider = nn.Linear(2, 3)
    with pytest.raises(MembersError, match="Member 1 returns logits of shape"):
        list(outputs_of([nn.Linear(2, 2), wider], data(), "Running", as_output(None)))


def test_members_on_disk_give_what_members_in_memory_give(tmp_path: Path) -> None:
    paths = []
    for k in (1, 2):
        paths.append(tmp_path / f"{k}.safetensors")
        onefold.save(Times(float(k)), paths[-1])
    disk = DiskMembers(Times, paths)
    found = list(outputs_of(disk, data(), "Running", as_output(None)))
    assert [[float(y[0, 0]) for y in outputs] for outputs, _ in found] == [[0, 0], [1, 2], [2, 4]]

    class Turning:
        turn = 0

        def __iter__(self) -> Iterator[object]:
            self.turn += 1
            return iter(data()[:: 1 if self.turn % 2 else -1])

    with pytest.raises(DataError, match="turn shuffling off"):
        list(outputs_of(disk, Turning(), "Running", as_output(None)))


def test_at_least_one_network_is_needed() -> None:
    assert len(networks(Times())) == 1
    assert len(networks([Times(), Times()])) == 2
    with pytest.raises(MembersError):
        networks([])


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 4), (torch.zeros(2, 4), torch.zeros(2)), [torch.zeros(1, 3, 4)]]
)
def test_a_network_that_runs_on_the_first_batch_passes(batch: Any) -> None:
    network = nn.Linear(4, 2)
    check_runs(network, [batch, "never read"])
    assert network.weight.grad is None


@pytest.mark.parametrize("data", [[], [torch.zeros(2, 5)], [(torch.zeros(2, 5), torch.zeros(2))]])
def test_a_network_that_does_not_run_on_the_first_batch_is_told(data: Any) -> None:
    with pytest.raises(DataError):
        check_runs(nn.Linear(4, 2), data)
