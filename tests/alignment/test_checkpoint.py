"""Alignments that were interrupted resume from their folder and end in the same bits."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_networks import COUNT, NETWORKS, assert_same, doubles, members_of, written
from small_networks import Plain
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import onefold
from onefold.alignment import checkpoint
from onefold.errors import OutputError
from onefold.sources import DiskMembers


class Killed(BaseException):
    """What the operating system would do, in a place of our choice."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cca", "zipit", "weights"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_run_broken_off_anywhere_ends_in_the_same_bits(
    both: tuple[list[nn.Module], DiskMembers],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    on_disk: bool,
) -> None:
    models = both[1] if on_disk else both[0]
    data, folder, write = doubles(), tmp_path / "kept", checkpoint.atomic_write
    expected = onefold.align(models, data, method=method)
    runs = writes = 0

    def fragile(*arguments: Any, **options: Any) -> object:
        nonlocal writes
        writes += 1
        if writes % 3 == 0:
            raise Killed
        return write(*arguments, **options)

    monkeypatch.setattr(checkpoint, "atomic_write", fragile)
    while True:
        runs += 1
        assert runs < 40
        try:
            found = onefold.align(models, data, method=method, resume=folder)
            break
        except Killed:
            continue
    assert runs > 1
    assert_same(expected, found)
    left = {path.name.split(".", 1)[1] for path in folder.glob("*.pt")}
    assert left == (
        {"solution.pt", "statistics.pt"} if on_disk and method == "zipit" else {"solution.pt"}
    )


def test_what_was_measured_is_not_measured_again(
    both: tuple[list[nn.Module], DiskMembers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("onefold.alignment.problem")
    calls: list[int] = []
    collect_statistics = module.collect_statistics
    monkeypatch.setattr(
        module, "collect_statistics", lambda *a, **o: calls.append(1) or collect_statistics(*a, **o)
    )
    first = onefold.align(both[1], doubles(), method="permutation", resume=tmp_path / "kept")
    assert len(calls) == COUNT - 1
    second = onefold.align(both[1], doubles(), method="permutation", resume=tmp_path / "kept")
    assert len(calls) == COUNT - 1
    assert_same(first, second)
    assert (second.examples, second.numbers) == (first.examples, first.numbers)


@pytest.mark.slow
def test_the_folder_of_another_run_is_refused(
    both: tuple[list[nn.Module], DiskMembers], tmp_path: Path
) -> None:
    models, data, folder = both[0], doubles(), tmp_path / "kept"
    onefold.align(models, data, method="permutation", resume=folder)
    for others, batch, options, what in (
        (models[::-1], data, {"method": "permutation"}, "other members' weights"),
        (models, data[:-1], {"method": "permutation"}, "calibration data"),
        (models, data, {"method": "cca"}, "matcher"),
        (models, data, {"method": "permutation", "reference": 1}, "reference was 0 and is 1 now"),
        (models, data, {"method": "permutation", "seed": 1}, "seed was 0 and is 1 now"),
        (both[1], data, {"method": "permutation"}, "members on disk was false and is true now"),
    ):
        with pytest.raises(OutputError, match=what):
            onefold.align(others, batch, resume=folder, **options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        onefold.align(models, data, resume=tmp_path / "full")
    (folder / "run.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        onefold.align(models, data, method="permutation", resume=folder)


class Stream(IterableDataset[Tensor]):
    """Examples without a length."""

    def __iter__(self) -> Iterator[Tensor]:
        for images, _ in doubles():
            yield from images


@pytest.mark.slow
def test_data_without_a_length_can_be_resumed_with(
    both: tuple[list[nn.Module], DiskMembers], tmp_path: Path
) -> None:
    stream = DataLoader(Stream(), batch_size=64)
    first, again = (
        onefold.align(both[0], stream, method="permutation", resume=tmp_path / "kept")
        for _ in range(2)
    )
    assert all(
        torch.equal(a.forward, b.forward)
        for name in first.maps
        for a, b in zip(first.maps[name], again.maps[name], strict=True)
    )
    assert first.examples == again.examples == 200


NETWORKS_FOLDER = Path(__file__).parent.parent / "networks"
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import onefold
from disk_networks import NETWORKS, doubles
from onefold.alignment import checkpoint
from onefold.sources import DiskMembers

write, writes = checkpoint.atomic_write, []

def fragile(*arguments, **options):
    writes.append(write(*arguments, **options))
    if len(writes) == 7:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.atomic_write = fragile
members = DiskMembers(NETWORKS["Plain"], sys.argv[3:])
onefold.align(members, doubles(), method="cca", resume=sys.argv[2])
"""


@pytest.mark.slow
def test_a_process_killed_by_the_system_leaves_what_it_had_reached(tmp_path: Path) -> None:
    models = members_of(Plain)
    paths, folder = written(models, tmp_path), tmp_path / "kept"
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(NETWORKS_FOLDER), str(folder), *map(str, paths)],
        capture_output=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert len(list(folder.glob("pair-0-1.solution.pt"))) == 1
    assert not list(folder.glob("pair-0-3.*"))
    found = onefold.align(
        DiskMembers(NETWORKS["Plain"], paths), doubles(), method="cca", resume=folder
    )
    assert_same(onefold.align(models, doubles(), method="cca"), found)
