"""Small members for targets of least squares, and what is aimed at for them."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.batches import batches
from onefold.ensemble.pool import ClassPool
from onefold.fold.least_squares.layers import find_sites
from onefold.fold.least_squares.output_layers import find_output
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.selection import UnitSelection, alignment_of
from onefold.fold.least_squares.targets import site_targets
from onefold.inference import ANY, Output
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, solve, trace

UNITS = 6


class Two(nn.Module):
    """A hidden layer behind tanh, so that a unit may be turned round, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


class Convolved(nn.Module):
    """The same over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Conv1d(2, UNITS, 3), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)).mean(2))


SHAPES = {Two: (200, 4), Convolved: (100, 2, 7)}


def member(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network with random weights in float64."""
    torch.manual_seed(seed)
    return kind().double().eval()


def inputs(kind: type[nn.Module]) -> Tensor:
    """Random inputs for a network of this class."""
    return torch.randn(
        SHAPES[kind], generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )


def turned(network: nn.Module, units: list[int], factor: float = -1.0) -> nn.Module:
    """A copy in which these units put out `factor` times as much, which changes its function."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.hidden.weight[units] *= factor
        other.hidden.bias[units] *= factor
    return other


@cache
def structure(kind: type[nn.Module]) -> tuple[TracedNetwork, SymmetrySpec]:
    """The traced network and its symmetries."""
    traced = trace(member(kind), (inputs(kind),))
    return traced, solve(traced)


def targets_of(
    networks: list[nn.Module],
    x: Tensor,
    kind: str,
    shares: tuple[float, ...],
    threshold: float = 0.0,
    reference: int = 0,
    maps: dict[str, tuple[GroupMap, ...]] | None = None,
    picks: dict[str, UnitSelection] | None = None,
    pool: ClassPool | None = None,
    output: Output = ANY,
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The goals of the hidden layer and of the head, and of each member what it puts out there, at
    the same positions.
    """
    traced, spec = structure(type(networks[0]))
    states = [{k: v.detach().clone() for k, v in n.state_dict().items()} for n in networks]
    sites, _ = find_sites(traced, spec, states[0])
    calibration = Calibration(list(batches([x])), 4096, 0)
    found = (
        None
        if maps is None
        else Alignment(
            "none", spec, reference, len(networks), maps, scores={}, conditions={}, matchers={}
        )
    )
    if picks is not None:
        found = alignment_of(picks, found, spec, len(networks), reference)
    read = SiteOutputs(traced, states, sites, calibration)
    put = (
        None
        if pool is None
        else find_output(traced, states[reference], calibration.batches, output)
    )
    goals = site_targets(
        read, spec, states, found, shares, reference, kind, threshold, picks or {}, pool, put
    )
    outputs = SiteOutputs(traced, states, sites, calibration)
    return goals, [outputs.of(k) for k in range(len(networks))]


class Dense(nn.Module):
    """Logits at every place of a series: classes on an axis that is not the last."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Conv1d(2, UNITS, 3), nn.Conv1d(UNITS, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


class Behind(nn.Module):
    """What the last layer puts out is not what is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x))).square()


class Raw(nn.Module):
    """The units themselves are returned, as well as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.hidden(x))
        return self.head(x), x.sum(1)
