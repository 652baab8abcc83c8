"""Checksums of states see everything but the order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from onefold import weights
from onefold.errors import WeightsError


def test_state_checksum_sees_everything_but_the_order() -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    same = {
        "b": torch.tensor(1),
        "a": torch.arange(6.0).reshape(3, 2).t().contiguous().t().reshape(2, 3),
    }
    assert weights.state_checksum(state) == weights.state_checksum(same)
    others = [
        {**state, "a": torch.arange(6.0).reshape(3, 2)},
        {**state, "a": state["a"].view(torch.int32)},  # the same bytes
        {**state, "b": torch.tensor(2)},
        {"a": state["a"], "c": state["b"]},
        {"a": state["a"]},
    ]
    assert len({weights.state_checksum(other) for other in [state, *others]}) == 6


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        weights.checksum(tmp_path / "a")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.checksum(tmp_path / "b")
