"""Alignments and merges in several processes: the sums are those of one process."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_networks import NETWORKS, doubles, members_of, written
from process_groups import in_a_group, run_both
from small_networks import Residual
from torch import Tensor, nn

import onefold
from onefold.alignment import Moments
from onefold.batches import RankShare
from onefold.batchnorm import reestimate
from onefold.errors import DataError, SettingError
from onefold.sources import DiskMembers

CASES: dict[str, dict[str, Any]] = {
    "permutation": {"align": "permutation"},
    "cca": {"align": "cca", "reference": 1},
    "zipit": {"align": "zipit"},
}


@in_a_group
def _rank(rank: int, folder: str) -> None:
    report: dict[str, Any] = {}
    models, data = members_of(Residual, 3), doubles()
    disk = DiskMembers(NETWORKS["Residual"], sorted(Path(folder).glob("*.safetensors")))
    report["permutation"] = onefold.merge(
        models, data, **{"fold": "average", **CASES["permutation"]}
    ).model.state_dict()
    for turn in ("disk", "resumed"):
        found = onefold.align(disk, data, method="cca", reference=1, resume=f"{folder}/kept")
        report[turn] = onefold.merge(
            disk, data, **{"fold": "average", **CASES["cca"], "align": found}
        ).model.state_dict()
    report["sharded"] = onefold.merge(
        models,
        RankShare(data[rank::2], rank, 2, sharded=True),
        **{"fold": "average", **CASES["zipit"]},
    ).model.state_dict()
    report["one batch"] = onefold.merge(
        models, data[:1], **{"fold": "average", **CASES["permutation"]}
    ).model.state_dict()
    if importlib.util.find_spec("ot"):
        report["widths"] = onefold.merge(
            wide(), data, align="transport", fold="average"
        ).model.state_dict()
    report["statistics"] = re_estimated(models[0], RankShare(data, rank, 2))
    for arguments in ({"polish": 1}, {"fold": "least_squares"}):
        with pytest.raises(SettingError, match="a part of the data only"):
            onefold.merge(
                models,
                RankShare(data[rank::2], rank, 2, sharded=True),
                **{"fold": "average", **arguments},
            )
    with pytest.raises(DataError, match="Rank 1 failed" if rank == 0 else "parameters are float64"):
        onefold.align(
            models,
            [*data[:1], (data[1][0].float() if rank == 1 else data[1][0], None)],
            sharded=True,
        )
    Moments.reduced = lambda self: self  # type: ignore[method-assign]  # the control
    report["not reduced"] = onefold.merge(
        models, data, **{"fold": "average", **CASES["permutation"]}
    ).model.state_dict()
    torch.save(report, f"{folder}/{rank}.pt")


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
    run_both(_rank, f"file://{folder}/meeting", str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
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
        onefold.merge(
            members_of(Residual, 3), data, **{"fold": "average", **CASES[options]}
        ).model.state_dict(),
    )


@pytest.mark.slow
def test_two_processes_average_statistics_as_one_would(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    assert_equal_sums(two_ranks, "statistics", re_estimated(members_of(Residual, 1)[0], doubles()))


@pytest.mark.slow
def test_two_processes_line_up_unequal_widths_as_one_would(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    pytest.importorskip("ot")
    assert_equal_sums(
        two_ranks,
        "widths",
        onefold.merge(wide(), doubles(), align="transport", fold="average").model.state_dict(),
    )


def assert_equal_sums(
    two_ranks: list[dict[str, dict[str, Tensor]]], case: str, alone: dict[str, Tensor]
) -> None:
    """The same bits on both ranks, and but for the rounding of sums what one process has."""
    first, second = (report[case] for report in two_ranks)
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_without_the_reduction_the_processes_differ(
    two_ranks: list[dict[str, dict[str, Tensor]]],
) -> None:
    first, second = (report["not reduced"] for report in two_ranks)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-3
