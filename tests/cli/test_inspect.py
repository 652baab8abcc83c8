"""`onefold inspect` on networks that read tokens, with operators that no rule knows, and with a
spec that the proof refutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onefold.symmetry import SymmetrySpec
from onefold.symmetry.rules import Call, operator_rules
from onefold.symmetry.terms import Term

TEXT = """
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, odd=False):
        super().__init__()
        self.table, self.head = nn.Embedding(30, 8), nn.Linear(6, 3)
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.odd = odd

    def forward(self, x):
        x = self.lstm(self.table(x))[0][:, -1]
        return self.head(torch.ops.onefold_test.reverse(x) if self.odd else x)


def odd():
    return Reader(True)
"""


@pytest.fixture(scope="module", autouse=True)
def reverse() -> object:
    """An operator that is no rule's: coordinates in reverse order."""

    @torch.library.custom_op("onefold_test::reverse", mutates_args=())
    def reverse(x: torch.Tensor) -> torch.Tensor:
        return x.flip(-1) * 2

    @reverse.register_fake
    def _(x: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(x)

    return reverse


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(TEXT)
    return tmp_path / "nets.py"


def test_a_network_of_tokens(onefold: Callable, file: Path) -> None:
    result = onefold("inspect", f"{file}:Reader", "--shape", "7", "--tokens", "30", "--verify")
    assert result.status == 0, result.err
    for text in (
        "lstm.weight_hh_l0[1]",
        "read at",
        "invertible",
        "2 groups cover 99.",
        "frozen (output of the network): head.bias",
        "passed",
    ):
        assert text in result.out


def test_json_stays_alone_on_standard_output(onefold: Callable, file: Path) -> None:
    result = onefold(
        "inspect", f"{file}:odd", "--shape", "7", "--tokens", "30", "--json", "--verify"
    )
    assert result.status == 0, result.err
    spec = SymmetrySpec.from_json(result.out)
    assert spec.unknown == {"reverse": 1}
    assert "reverse" in spec.frozen["lstm.bias_ih_l0"]
    assert json.loads(result.out)["is"] == "SymmetrySpec"
    assert "passed" in result.err


def test_unknown_operators_are_named(onefold: Callable, file: Path) -> None:
    out = onefold("inspect", f"{file}:odd", "--shape", "7", "--tokens", "30").out
    assert "unknown operator: reverse, met 1 times; what reaches it is frozen" in out
    assert "reaches reverse, which has no rule" in out


def test_a_refuted_spec_fails(onefold: Callable, file: Path) -> None:
    def wrong(call: Call) -> list[Term]:
        return call.axes(call["x"])

    operator_rules.register("reverse", summary="A rule that claims too much.")(wrong)
    try:
        result = onefold("inspect", f"{file}:odd", "--shape", "7", "--tokens", "30", "--verify")
    finally:
        operator_rules.unregister("reverse")
    assert result.status == 1
    assert "FAILED: relative error" in result.out


def test_tokens_need_a_shape(refused: Callable, file: Path) -> None:
    result = refused("inspect", f"{file}:Reader", "--data", "sklearn:digits", "--tokens", "30")
    assert result.startswith("--tokens says what numbers an example of --shape holds")
