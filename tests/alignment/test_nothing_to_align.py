"""Where nothing can be aligned: an error if it was asked for by name, else a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from still_networks import Neighbours, Sorted, Waves, floats, pair
from torch import Tensor, nn

import onefold
from onefold.alignment import feature_matchers
from onefold.errors import AlignmentError, NothingToAlignError
from onefold.symmetry import find_symmetries


class Distances(nn.Module):
    """Distances to centres by an operator without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.centres, self.b = (
            nn.Linear(6, 8),
            nn.Parameter(torch.randn(5, 8)),
            nn.Linear(5, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.cdist(self.a(x), self.centres).clone())


class Cast(nn.Module):
    """All of it under autocast, which is traced as one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.b(torch.relu(self.a(x))).float()


class Linear(nn.Module):
    """Nothing between its input and its output."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


class Shifted(nn.Module):
    """Features beside a table that is a constant of the architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("table", torch.linspace(0, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) + self.table))


# name -> network, and what the sentence says of it
STILL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "an operator without a rule": (Distances, "no rule knows the operator: cdist"),
    "a cast region": (Cast, "no rule knows the operator: wrap_with_autocast (1 time)"),
    "features in order": (Sorted, "order along an axis (sort) (1 time)"),
    "a single layer": (Linear, "there are no features between layers"),
    "a table in a buffer": (Shifted, "buffer (1 time)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STILL)
def test_asked_for_by_name_it_is_an_error_that_says_why_and_what_to_do(name: str) -> None:
    kind, why = STILL[name]
    networks = pair(kind)
    asked: list[Any] = [
        "permutation",
        "cca",
        "weights",
        "zipit",
        feature_matchers.get("procrustes")(),
    ]
    for method in asked:
        with pytest.raises(NothingToAlignError, match='use align="none"') as caught:
            onefold.merge(networks, floats(), align=method, fold="average")
        assert isinstance(caught.value, AlignmentError)
        assert why in str(caught.value)
    for method in ("cca", "permutation"):
        with pytest.raises(NothingToAlignError):
            onefold.align(networks, floats(), method=method)


@pytest.mark.slow
@pytest.mark.parametrize("name", STILL)
def test_where_nothing_was_asked_for_it_is_a_warning(name: str) -> None:
    kind, why = STILL[name]
    networks = pair(kind)
    result = onefold.merge(networks, floats(), repair="none", fold="average")
    plain = onefold.merge(networks, align="none", repair="none", fold="average").model
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            result.model.state_dict().values(), plain.state_dict().values(), strict=True
        )
    )
    assert result.alignment is None
    assert result.report.align == "none"
    assert result.report.settings["align"] == {}  # of a matcher that served nothing
    (warning,) = result.report.warnings
    assert why in warning
    assert "averaged as they are" in warning
    assert warning in str(result.report)
    assert "0 of" in str(result.report)
    repaired = onefold.merge(networks, floats(), fold="average").report
    assert repaired.warnings[0] == warning


@pytest.mark.parametrize("method", ["none", "identity"])
def test_who_asked_for_nothing_is_told_nothing(method: str) -> None:
    assert (
        onefold.merge(
            pair(Sorted), floats(), align=method, repair="none", fold="average"
        ).report.warnings
        == []
    )
    assert onefold.align(pair(Sorted), floats(), method="identity").warnings == []


@pytest.mark.parametrize("kind", [Neighbours, Waves])
def test_features_that_are_positions_stand_aligned_as_they_are(kind: type[nn.Module]) -> None:
    data = [torch.randn(32, 6, 5) if kind is Neighbours else x for x in floats()]
    report = onefold.merge(pair(kind), data, align="permutation", fold="average").report
    assert report.align == "none"
    assert "averaged as they are" in report.warnings[0]
    assert spec_reason(kind, data[0]) in report.warnings[0]


def spec_reason(kind: type[nn.Module], x: Tensor) -> str:
    return find_symmetries(pair(kind)[0], x).spaces[0].reason


def test_all_groups_dead_is_nothing_to_align_too() -> None:
    networks = pair(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    for own in networks:
        nn.init.zeros_(own[0].weight)  # type: ignore[arg-type]
    with pytest.raises(
        NothingToAlignError, match="its features never vary on the calibration data in members 0, 1"
    ):
        onefold.merge(networks, floats(), align="permutation", fold="average")
    assert "never vary" in onefold.merge(networks, floats(), fold="average").report.warnings[0]
