"""Checkpoints of a training: kept whole, read back, and compared with what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from onefold.errors import WeightsError
from onefold.explore.checkpoint import NAME, Checkpoint, difference, keep, kept

SETTINGS = {"epochs": 2, "data": {"source": "sklearn:digits", "skip": 0}, "exclude": None}


def checkpoint(step: int) -> Checkpoint:
    state = {"weights": torch.full((3,), float(step)), "losses": [0.5, 0.25], "step": step}
    return Checkpoint(SETTINGS, {"torch": "2", "data_sha256": None}, state)


def test_what_was_kept_last_is_read_back(tmp_path: Path) -> None:
    assert kept(tmp_path, "subspace") is None
    for step in (1, 2):
        keep(tmp_path, "subspace", checkpoint(step))
    found = kept(tmp_path, "subspace")
    assert found is not None
    assert (found.settings, found.record) == (SETTINGS, {"torch": "2", "data_sha256": None})
    assert found.state["step"] == 2
    assert found.state["losses"] == [0.5, 0.25]
    assert torch.equal(found.state["weights"], torch.full((3,), 2.0))
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "content", [{"format": "onefold persist training 1"}, {"weights": torch.ones(2)}, [1, 2], {}]
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / NAME)
    with pytest.raises(
        WeightsError, match=r"is not what a run of `onefold subspace` left"
    ) as found:
        kept(tmp_path, "subspace")
    assert str(tmp_path / NAME) in str(found.value)


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (SETTINGS, None),
        ({**SETTINGS, "epochs": 3}, ("epochs", 3, 2)),
        ({**SETTINGS, "data": {"source": "sklearn:digits", "skip": 5}}, ("data.skip", 5, 0)),
        ({**SETTINGS, "data": None}, ("data", None, SETTINGS["data"])),
        ({**SETTINGS, "new": 1}, ("new", 1, None)),
        ({key: value for key, value in SETTINGS.items() if key != "epochs"}, ("epochs", None, 2)),
    ],
)
def test_the_first_setting_that_is_not_the_same_is_found(now: Any, found: Any) -> None:
    assert difference(now, SETTINGS) == found
