"""Members on disk: alignments, merges and scores have the bits of members in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_networks import NETWORKS, assert_same, doubles, members_of, same_weights, written
from small_networks import Plain, Residual
from torch import nn

import onefold
from onefold.errors import DataError, MembersError, WeightsError
from onefold.fold.distillation import polish
from onefold.measure import evaluate_all
from onefold.sources import DiskMembers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("permutation", 0),
        ("cca", 2),
        ("zipit", 0),
        ("weights", 2),
        ("transport", 1),
        ("permutation", None),
        ("cca", None),
        ("weights", None),
    ],
)
def test_an_alignment_from_disk_has_the_bits_of_one_in_memory(
    both: tuple[list[nn.Module], DiskMembers], method: str, reference: int | None
) -> None:
    models, disk = both
    data = doubles()
    found = onefold.align(disk, data, method=method, reference=reference, max_positions=7)
    assert_same(
        onefold.align(models, data, method=method, reference=reference, max_positions=7), found
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"align": "none"},
        {"align": "permutation", "weights": [1, 2, 3, 4]},
        {"align": "cca", "reference": 2, "polish": 1},
        {"align": "cca", "reference": None},
        {"align": "permutation", "fold": "least_squares"},
        {"align": "permutation", "fold": "greedy_soup"},
    ],
)
def test_a_merge_from_disk_has_the_bits_of_one_in_memory(
    both: tuple[list[nn.Module], DiskMembers], options: dict[str, Any]
) -> None:
    models, disk = both
    data = doubles()
    assert same_weights(
        onefold.merge(models, data, **{"fold": "average", **options}).model,
        onefold.merge(disk, data, **{"fold": "average", **options}).model,
    )


@pytest.mark.slow
def test_weights_alone_are_matched_from_disk_too(both: tuple[list[nn.Module], DiskMembers]) -> None:
    models, disk = both
    spec = onefold.find_symmetries(models[0], doubles()[0])
    for reference in (1, None):
        in_memory = onefold.align(models, method="weights", spec=spec, reference=reference)
        assert_same(
            in_memory, onefold.align(disk, method="weights", spec=spec, reference=reference)
        )


def test_scores_and_distillation_of_members_on_disk(
    both: tuple[list[nn.Module], DiskMembers],
) -> None:
    models, disk = both
    data = doubles()
    assert evaluate_all(models, data).to_dict() == evaluate_all(disk, data).to_dict()
    assert same_weights(
        polish(models[0], models, data, 1).model, polish(models[0], disk, data, 1).model
    )


def test_scores_from_disk_notice_data_that_come_in_another_order(
    both: tuple[list[nn.Module], DiskMembers],
) -> None:
    class Shuffling:
        turn = 0

        def __iter__(self) -> Iterator[object]:
            self.turn += 1
            return iter(doubles()[:: 1 if self.turn % 2 else -1])

    with pytest.raises(DataError, match="turn shuffling off"):
        evaluate_all(both[1], Shuffling())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"align": "none"}, 2),
        ({"align": "permutation"}, 2),
        ({"align": "zipit"}, 3),
        ({"align": "cca", "reference": None}, 3),
    ],
)
def test_members_in_memory_beside_the_traced_one(
    tmp_path: Path, options: dict[str, Any], expected: int
) -> None:
    """One other at a time where there is a reference, two where every pair is needed."""
    alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    most = []

    def build() -> nn.Module:
        model = Plain().double()
        alive.add(model)
        most.append(len(alive))
        return model

    disk = DiskMembers(build, written(members_of(Plain, 5), tmp_path))
    onefold.merge(disk, doubles(), **{"fold": "average", **options})
    assert max(most) == expected
    _ = [disk[k] for k in range(3)]  # the control: whoever keeps members sees them counted
    held = [disk[k] for k in range(3)]
    assert len(alive) >= len(held) == 3


PEAK = """
import gc, re, sys
from pathlib import Path
import torch
from torch import nn
import onefold
from onefold.sources import DiskMembers

def build():
    return nn.Sequential(nn.Linear(2 ** 15, 64), nn.ReLU(), nn.Linear(64, 10))

def high():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def peak(members):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = high()
    onefold.merge(members(), data, align="permutation")
    return high() - before

folder = Path(sys.argv[1])
for k in range(8):
    torch.manual_seed(k)
    onefold.save(build(), folder / f"{k}.safetensors")
paths, data = sorted(folder.glob("*.safetensors")), [torch.randn(48, 2 ** 15) for _ in range(2)]
peak(lambda: DiskMembers(build, paths[:2]))
for members in (
    lambda: DiskMembers(build, paths[:2]),
    lambda: DiskMembers(build, paths),
    lambda: DiskMembers(build, paths)[:],
):
    print(peak(members))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="the peak of a process is measured as Linux tells it",
)
def test_eight_members_take_no_more_memory_than_two(tmp_path: Path) -> None:
    # Else the heap keeps what was freed, now more and now less of it.
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=settings,
    )
    two, eight, in_memory = map(float, run.stdout.split())
    size = 2**15 * 64 * 4 / 2**20  # MiB of one member
    assert eight - two < 2.5 * size
    assert in_memory - two > 5 * size, "the control: six more members in a list do show"


def test_members_on_disk_are_checked_at_once(tmp_path: Path) -> None:
    paths = written(members_of(Plain, 2), tmp_path)
    with pytest.raises(MembersError, match="at least one path"):
        DiskMembers(NETWORKS["Plain"], [])
    with pytest.raises(WeightsError, match="does not exist"):
        DiskMembers(NETWORKS["Plain"], [*paths, tmp_path / "missing.safetensors"])
    other = written(members_of(Residual, 1), tmp_path)
    with pytest.raises(MembersError, match="different architectures"):
        DiskMembers(NETWORKS["Plain"], [*paths, *other])
    with pytest.raises(WeightsError, match="does not fit"):
        DiskMembers(NETWORKS["Residual"], paths)
    broken = onefold.load(paths[0])
    broken["head.bias"][0] = torch.nan
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(WeightsError, match="not finite"):
        DiskMembers(NETWORKS["Plain"], [*paths, tmp_path / "broken.pt"])
    disk = DiskMembers(NETWORKS["Plain"], paths)
    with pytest.raises(MembersError, match="1 network was given"):
        onefold.align(DiskMembers(NETWORKS["Plain"], paths[:1]), doubles())
    onefold.save(disk[1], paths[0], force=True)
    with pytest.raises(WeightsError, match="changed while it was in use"):
        disk[0]


def test_reading_a_member_leaves_random_numbers_alone(
    both: tuple[list[nn.Module], DiskMembers],
) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert same_weights(both[0][1], both[1][1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_bad_member_is_named_by_its_own_number(tmp_path: Path) -> None:
    models = members_of(Plain, 3)
    with torch.no_grad():
        models[2].conv1.weight.mul_(1e200)
        models[2].conv2.weight.mul_(1e200)
    with pytest.raises(DataError, match="Member 2 gives non-finite features"):
        onefold.align(
            DiskMembers(NETWORKS["Plain"], written(models, tmp_path)),
            doubles(),
            method="permutation",
        )
