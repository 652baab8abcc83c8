"""Members on disk, merges that were killed, several processes: always the bits, or the sums, of the
plain merge in memory.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Plain, Residual, loader
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import onefold
from onefold.alignment import Alignment, Moments
from onefold.batches import RankShare, batches
from onefold.batchnorm import reestimate
from onefold.errors import DataError, MembersError, OutputError, SettingError, WeightsError
from onefold.fold.polish import polish
from onefold.measure import evaluate_all
from onefold.sources import DiskMembers

COUNT = 4


def members_of(build: Callable[[], nn.Module], count: int = COUNT) -> list[nn.Module]:
    """Networks with random weights and, where they have norms, statistics that differ."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = build().double().eval()
        if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            reestimate(model, [torch.randn(64, 1, 8, 8, dtype=torch.float64)])
        found.append(model)
    return found


def written(models: list[nn.Module], folder: Path) -> list[Path]:
    paths = [folder / f"{type(models[0]).__name__}{k}.safetensors" for k in range(len(models))]
    for model, path in zip(models, paths, strict=True):
        onefold.save(model, path)
    return paths


def doubles(batch: int = 40) -> list[tuple[Tensor, Tensor]]:
    return [(x.double(), y) for x, y in loader(200, batch=batch)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "Plain": lambda: Plain().double(),
    "Residual": lambda: Residual().double(),
}


@pytest.fixture(scope="module", params=["Plain", "Residual"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[nn.Module], DiskMembers]:
    models = members_of(NETWORKS[request.param])
    return models, DiskMembers(
        NETWORKS[request.param], written(models, tmp_path_factory.mktemp("members"))
    )


def assert_same(one: Alignment, other: Alignment) -> None:
    """All that was measured and solved, bit for bit."""
    assert one.maps.keys() == other.maps.keys()
    assert (one.matchers, one.fallbacks, one.conditions) == (
        other.matchers,
        other.fallbacks,
        other.conditions,
    )
    assert (one.examples, one.reference, one.members, one.probes) == (
        other.examples,
        other.reference,
        other.members,
        other.probes,
    )
    for group, maps in one.maps.items():
        for a, b in zip(maps, other.maps[group], strict=True):
            assert a.kind == b.kind
            assert torch.equal(a.forward, b.forward)
            assert (a.inverse is None) == (b.inverse is None)
            assert a.inverse is None or b.inverse is None or torch.equal(a.inverse, b.inverse)
        assert torch.equal(one.scores[group], other.scores[group])
    assert one.targets.keys() == other.targets.keys()
    for node, target in one.targets.items():
        assert torch.equal(target.mean, other.targets[node].mean)
        assert torch.equal(target.deviation, other.targets[node].deviation)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


# Members on disk


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
        onefold.merge(models, data, **options).model, onefold.merge(disk, data, **options).model
    )


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
        polish(models[0], models, data, passes=1).model,
        polish(models[0], disk, data, passes=1).model,
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
    onefold.merge(disk, doubles(), **options)
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
    gc.collect_statistics()
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
print(peak(lambda: DiskMembers(build, paths[:2])), peak(lambda: DiskMembers(build, paths)), peak(lambda: DiskMembers(build, paths)[:]))
"""


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


# Going on where a run was killed


class Killed(BaseException):
    """What the operating system would do, in a place of our choice."""


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
    collect = module.collect
    monkeypatch.setattr(
        module, "collect", lambda *a, **o: calls.append(1) or collect_statistics(*a, **o)
    )
    first = onefold.merge(both[1], doubles(), align="permutation", resume=tmp_path / "kept")
    assert len(calls) == COUNT - 1
    second = onefold.merge(both[1], doubles(), align="permutation", resume=tmp_path / "kept")
    assert len(calls) == COUNT - 1
    assert same_weights(first.model, second.model)
    assert (second.report.examples, second.report.numbers) == (
        first.report.examples,
        first.report.numbers,
    )


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


HERE = Path(__file__).parent
SEARCHED = ":".join(str(place) for place in (HERE, HERE.parent, HERE.parent / "networks"))
KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1].split(":")
import onefold
from test_on_disk import NETWORKS, doubles
from onefold.alignment import checkpoint
from onefold.sources import DiskMembers

write, writes = checkpoint.atomic_write, []

def fragile(*arguments, **options):
    writes.append(write(*arguments, **options))
    if len(writes) == 7:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.atomic_write = fragile
onefold.align(DiskMembers(NETWORKS["Plain"], sys.argv[3:]), doubles(), method="cca", resume=sys.argv[2])
"""


def test_a_process_killed_by_the_system_leaves_what_it_had_reached(tmp_path: Path) -> None:
    models = members_of(Plain)
    paths, folder = written(models, tmp_path), tmp_path / "kept"
    run = subprocess.run(
        [sys.executable, "-c", KILLED, SEARCHED, str(folder), *map(str, paths)],
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


# Several processes


def test_shares_hold_every_batch_once_under_its_own_number() -> None:
    data = [torch.full((2, 1), float(k)) for k in range(5)]
    for world in (1, 2, 3, 7):
        shares = [list(batches(RankShare(data, rank, world))) for rank in range(world)]
        assert sorted((int(b.args[0][0, 0]), b.index) for own in shares for b in own) == [
            (k, k) for k in range(5)
        ]
    own = list(batches(RankShare(data[1::2], 1, 2, sharded=True)))
    assert [(int(b.args[0][0, 0]), b.index) for b in own] == [(1, 1), (3, 3)]
    with pytest.raises(DataError, match="no batch"):
        list(batches(RankShare([], 1, 2)))


CASES: dict[str, dict[str, Any]] = {
    "permutation": {"align": "permutation", "max_positions": 5},
    "cca": {"align": "cca", "reference": 1},
    "zipit": {"align": "zipit"},
}


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    report: dict[str, Any] = {}
    models, data = members_of(Residual, 3), doubles()
    disk = DiskMembers(NETWORKS["Residual"], sorted(Path(folder).glob("*.safetensors")))
    report["permutation"] = onefold.merge(models, data, **CASES["permutation"]).model.state_dict()
    for turn in ("disk", "resumed"):
        report[turn] = onefold.merge(
            disk, data, **CASES["cca"], resume=f"{folder}/kept"
        ).model.state_dict()
    report["sharded"] = onefold.merge(
        models, data[rank::2], **CASES["zipit"], sharded=True
    ).model.state_dict()
    report["one batch"] = onefold.merge(models, data[:1], **CASES["permutation"]).model.state_dict()
    if importlib.util.find_spec("ot"):
        report["widths"] = onefold.merge(wide(), data, align="transport").model.state_dict()
    report["statistics"] = re_estimated(models[0], RankShare(data, rank, 2))
    for arguments in ({"polish": 1}, {"fold": "least_squares"}):
        with pytest.raises(SettingError, match="a part of the data only"):
            onefold.merge(models, data[rank::2], sharded=True, **arguments)
    with pytest.raises(DataError, match="Rank 1 failed" if rank == 0 else "parameters are float64"):
        onefold.align(
            models,
            [*data[:1], (data[1][0].float() if rank == 1 else data[1][0], None)],
            sharded=True,
        )
    Moments.reduced = lambda self: self  # type: ignore[method-assign]  # the control
    report["not reduced"] = onefold.merge(models, data, **CASES["permutation"]).model.state_dict()
    torch.save(report, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def wide() -> list[nn.Module]:
    """Two networks of unequal widths."""
    found = []
    for width in (6, 9):
        torch.manual_seed(width)
        found.append(
            nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 4))
            .double()
            .eval()
        )
    return found


def re_estimated(model: nn.Module, data: Any) -> dict[str, Tensor]:
    """The state with batch-norm statistics of these data."""
    twin = copy.deepcopy(model)
    reestimate(twin, data)
    return twin.state_dict()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")
    folder = tmp_path_factory.mktemp("ranks")
    written(members_of(Residual, 3), folder)
    torch.multiprocessing.spawn(_rank, (str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("permutation", "permutation"),
        ("disk", "cca"),
        ("resumed", "cca"),
        ("sharded", "zipit"),
        ("one batch", "permutation"),
    ],
)
def test_two_processes_fold_what_one_would(
    two_ranks: list[dict[str, dict[str, Tensor]]], case: str, options: str
) -> None:
    data = doubles()[:1] if case == "one batch" else doubles()
    assert_equal_sums(
        two_ranks,
        case,
        onefold.merge(members_of(Residual, 3), data, **CASES[options]).model.state_dict(),
    )


def test_two_processes_average_statistics_as_one_would(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    assert_equal_sums(two_ranks, "statistics", re_estimated(members_of(Residual, 1)[0], doubles()))


def test_two_processes_line_up_unequal_widths_as_one_would(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    pytest.importorskip("ot")
    assert_equal_sums(
        two_ranks, "widths", onefold.merge(wide(), doubles(), align="transport").model.state_dict()
    )


def assert_equal_sums(
    two_ranks: list[dict[str, dict[str, Tensor]]], case: str, alone: dict[str, Tensor]
) -> None:
    """The same bits on both ranks, and but for the rounding of sums what one process has."""
    first, second = (report[case] for report in two_ranks)
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, rtol=1e-9, atol=1e-9)


def test_without_the_reduction_the_processes_differ(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    first, second = (report["not reduced"] for report in two_ranks)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-3


# The commands


@pytest.fixture
def merge(onefold: Callable[..., Any], members: list[Path]) -> Callable[..., Any]:
    flags = [
        "--model",
        "digits?width=4",
        "--data",
        "sklearn:digits",
        "--samples",
        "300",
        "--align",
        "permutation",
    ]
    return lambda *more: onefold("merge", *members, *flags, *more)


def test_the_command_gives_the_same_bits_from_disk_and_resumed(
    merge: Callable[..., Any], tmp_path: Path
) -> None:
    for name, more in {
        "list": [],
        "disk": ["--on-disk"],
        "kept": ["--on-disk", "--resume", tmp_path / "kept"],
    }.items():
        result = merge("-o", tmp_path / f"{name}.safetensors", "--eval-split", "test", *more)
        assert result.status == 0, result.err
    contents = {
        (tmp_path / f"{name}.safetensors").read_bytes() for name in ("list", "disk", "kept")
    }
    tables = {
        tuple(
            (tmp_path / f"{name}.report.json")
            .read_text()
            .split('"scores"')[1]
            .split('"spectra"')[0]
            .split()
        )
        for name in ("list", "disk")
    }
    assert len(contents) == len(tables) == 1
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "pair-0-1.solution.pt",
        "pair-0-2.solution.pt",
        "run.json",
    ]
    other = merge(
        "-o",
        tmp_path / "other.safetensors",
        "--on-disk",
        "--resume",
        tmp_path / "kept",
        "--skip",
        "10",
    )
    assert other.status == 2
    assert "of other calibration data" in other.err


def test_what_cannot_be_resumed_or_shared_is_refused(
    merge: Callable[..., Any], tmp_path: Path, both: tuple[list[nn.Module], DiskMembers]
) -> None:
    for more, what in (
        (["--until", "50%", "--resume", tmp_path / "kept"], "runs in one process"),
        (["--until", "50%", "--on-disk"], "runs in one process"),
        (["--device", "cpu:0", "--devices", "2"], "single one"),
    ):
        result = merge("-o", tmp_path / "x.safetensors", *more)
        assert result.status == 2, result.err
        assert what in result.err
    alignment = onefold.align(both[0], doubles(), method="permutation")
    for align, repair in ((alignment, "auto"), ("none", "none")):
        with pytest.raises(SettingError, match="nothing to resume"):
            onefold.merge(both[0], doubles(), align=align, repair=repair, resume=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
