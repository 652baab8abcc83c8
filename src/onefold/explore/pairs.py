"""Whether several networks are the same: distance, disagreement and barrier of every two.

    distance(a, b) = |theta_a - theta_b|
    disagreement(a, b) = share of examples with another predicted class
    barrier: measure/path.py

Hidden units may be renumbered without changing the function of a network, so that two networks may
be far apart and yet be one function. All three are therefore measured twice: for the networks as
they are, and after the second of every pair has been permuted onto the first (Entezari et al. 2022,
arXiv 2110.06296). The permutation is that of the activations, read before nonlinearities, where
dead units still differ (alignment/matchers/permutation.py). Rescalings of units, another symmetry
of ReLU networks, are not removed: a distance that alignment leaves may still be one of those. The
permutation is not that of the least distance: networks that begin alike and keep the order of their
units may be farther apart after it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment import align as find_alignment
from onefold.alignment.matchers import Permutation
from onefold.alignment.structure import trace_on
from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.batchnorm import norms_of
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.errors import MembersError, OnefoldError
from onefold.finite import finite
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.measure import LinearPath, agreement, barrier, matching
from onefold.measure.evaluation import mean_of_pairs
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork, apply_maps, solve
from onefold.symmetry.coverage import shortfall, why_still
from onefold.tasks import AUTO, TaskChoice, has_answers
from onefold.weights import repeated

Line = Callable[[nn.Module, nn.Module], LinearPath]


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of K networks.

    The matrices are (K, K), float64, on the CPU, symmetric, with zeros on the diagonal.

    Attributes:
        distances: the Euclidean length of the difference of all parameters; buffers do not count.
        disagreement: the share of examples, a fraction of 1, for which two networks answer
            differently; NaN where answers are numbers.
        paths: (i, j) with i < j -> scores along the straight line from network i to j.
    """

    distances: Tensor
    disagreement: Tensor
    paths: Mapping[tuple[int, int], LinearPath]

    @property
    def barriers(self) -> Tensor:
        """The barrier of every pair's path (K, K), in units of its loss."""
        result = torch.zeros_like(self.distances)
        for (i, j), path in self.paths.items():
            result[i, j] = result[j, i] = path.barrier
        return result

    def __repr__(self) -> str:
        means = ", ".join(f"mean {name}={value:.4g}" for name, value in self.means().items())
        return f"Pairs(networks={len(self.distances)}, {means})"

    def means(self) -> dict[str, float]:
        """The means over the pairs.

        Returns:
            "distance", "disagreement" (a fraction of 1) and "barrier" (in units of the loss).
        """
        found = {
            "distance": self.distances,
            "disagreement": self.disagreement,
            "barrier": self.barriers,
        }
        return {name: mean_of_pairs(matrix) for name, matrix in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; infinities become words."""
        matrices = {
            "distances": self.distances,
            "disagreement": self.disagreement,
            "barriers": self.barriers,
        }
        plain = {name: finite(matrix.tolist()) for name, matrix in matrices.items()}
        return {
            **plain,
            "paths": {f"{i}-{j}": path.to_dict() for (i, j), path in self.paths.items()},
        }


@dataclass(frozen=True, eq=False)
class Compared:
    """The result of `measure_pairs`.

    Attributes:
        norms: (K,), float64: the Euclidean length of each network's parameters, as a measure for
            distances.
        plain: the pairs as the networks are.
        aligned: the pairs with the second network of each permuted onto the first; None if they
            could not be aligned, or were not to be.
        note: which networks are given twice, and why the networks could not be aligned or how
            little of them could be; "" if there is nothing to say.
    """

    norms: Tensor
    plain: Pairs
    aligned: Pairs | None
    note: str = ""

    def __repr__(self) -> str:
        note = self.note if len(self.note) <= 200 else f"{self.note[:197]}..."
        return (
            f"Compared(networks={len(self.norms)}, plain={self.plain!r}, aligned={self.aligned!r},"
            f" note={note!r})"
        )

    def __str__(self) -> str:
        lines = [
            f"{title:<12}{_line(pairs)}"
            for title, pairs in (("as they are", self.plain), ("aligned", self.aligned))
            if pairs is not None
        ]
        hints = dict.fromkeys(
            hint
            for path in self.plain.paths.values()
            for hint in (path.scores[0].hint, path.scores[-1].hint)
            if hint
        )
        return "\n".join([*lines, *([self.note] if self.note else []), *hints])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        aligned = self.aligned.to_dict() if self.aligned is not None else None
        return {
            "norms": self.norms.tolist(),
            "plain": self.plain.to_dict(),
            "aligned": aligned,
            "note": self.note,
        }


@checked
@isolated
def measure_pairs(
    networks: Sequence[nn.Module],
    data: Data,
    align: bool = True,
    *,
    calibration_data: Data | None = None,
    points: int = 11,
    loss: str = "",
    task: TaskChoice = AUTO,
    output: OutputChoice = None,
) -> Compared:
    """Compare every two of several networks, before and after one is permuted onto the other.

    Distance, disagreement and barrier are measured. The networks may be any of one class, such as
    the rounds of a PersistentTraining: `[run.network(k) for k in range(4)]`. They stay as they are.
    Statistics of batch norms are computed anew at every point of a path.

    Args:
        networks: K >= 2 networks of one class with equal names and shapes, on one device.
        data: batches with labels, read `points` times for each pair, and as often again for the
            aligned ones.
        align: whether to permute. Permutations keep each network's function, so that the
            disagreement stays, up to rounding.
        calibration_data: batches to align by and to compute batch-norm statistics on; labels are
            ignored. Take training data; None takes `data`.
        points: evenly spaced positions on each line, the ends included.
        loss: the score that barriers are of, as in `onefold.barrier`; "" is the task's loss.
        task: as in `onefold.evaluate`. Networks whose answers are numbers have no disagreement.
        output: which output is compared if the networks return several, as in `onefold.evaluate`.

    Raises:
        MembersError: fewer than two networks, they differ in a tensor, or one has no finite loss on
            the data.
        DataError: the data has no labels, can be read only once, or a network cannot run on it.
        SettingError: fewer than three points, or an unknown loss.
    """
    members = matching(list(networks))
    if len(members) < 2:
        raise MembersError(
            "There is only one network, and so no pair to compare; pass at least two."
        )
    calibration = check_reiterable(
        data if calibration_data is None else calibration_data, "calibration data"
    )
    extra: dict[str, Any] = (
        {"recalibrate": "batchnorm", "calibration_data": calibration}
        if norms_of(members[0])
        else {}
    )

    line = partial(barrier, data=data, points=points, loss=loss, task=task, output=output, **extra)
    plain = _plain_pairs(members, data, line, output)
    squares = [sum(_squares(p) for p in member.parameters()) for member in members]
    norms = torch.tensor(squares, dtype=torch.float64).sqrt()
    notes = [f"{text[:1].upper()}{text[1:]}." for text in repeated(members)]
    if not align:
        return Compared(norms, plain, None, " ".join(notes))
    try:
        aligned, note = _aligned_pairs(members, data, calibration, line, output)
    except OnefoldError as error:  # data and networks are sound, as the plain pairs have shown
        aligned, note = None, f"The networks could not be aligned: {error}"
    return Compared(norms, plain, aligned, " ".join([*notes, *([note] if note else [])]))


def _plain_pairs(
    members: Sequence[nn.Module], data: Data, line: Line, output: OutputChoice
) -> Pairs:
    """All pairs of the networks as they are."""
    distances, paths = _empty(len(members)), {}
    for i, j in track(_index_pairs(len(members)), "Between the networks"):
        distances[i, j] = distances[j, i] = distance(members[i], members[j])
        paths[i, j] = line(members[i], members[j])
    task = next(iter(paths.values())).scores[0].task
    return Pairs(distances, _disagreement(members, data, task, output), paths)


def _disagreement(
    members: Sequence[nn.Module], data: Data, task: str, output: OutputChoice
) -> Tensor:
    """The shares of different answers (K, K); NaN where answers are numbers."""
    if not has_answers(task):
        return torch.full_like(_empty(len(members)), torch.nan)
    return 1 - agreement(members, data, task=task, output=output)


def _aligned_pairs(
    members: Sequence[nn.Module], data: Data, calibration: Data, line: Line, output: OutputChoice
) -> tuple[Pairs | None, str]:
    """All pairs with the second network permuted onto the first, and a note.

    The pairs are None if there is no symmetry; the note says why, or how little can be aligned.
    """
    structure = _structure(members[0], calibration)
    spec = structure[1]
    if not spec.groups:
        why = why_still(spec)
        return (
            None,
            f"No symmetry was found in this network, so that nothing can be aligned: {why}.",
        )
    distances, disagreement, paths = _empty(len(members)), _empty(len(members)), {}
    for i, j in track(_index_pairs(len(members)), "Between the aligned networks"):
        moved = permuted(members[j], members[i], calibration, structure)
        distances[i, j] = distances[j, i] = distance(members[i], moved)
        paths[i, j] = line(members[i], moved)
        task = paths[i, j].scores[0].task
        other = float(_disagreement([members[i], moved], data, task, output)[0, 1])
        disagreement[i, j] = disagreement[j, i] = other
    short = shortfall(spec)
    note = f"{short[0].upper()}{short[1:]}." if short else ""
    return Pairs(distances, disagreement, paths), note


def permuted(
    network: nn.Module,
    onto: nn.Module,
    data: Data,
    structure: tuple[TracedNetwork, SymmetrySpec] | None = None,
) -> nn.Module:
    """A copy of `network` of the same function, its units in the order of those of `onto`.

    The order is that in which units are most like on the data.

    Raises:
        OnefoldError: as `onefold.align`.
    """
    traced, spec = structure or _structure(onto, data)
    alignment = find_alignment(
        [onto, network], data, method=Permutation(probe="pre"), spec=spec, traced=traced
    )
    # Not Alignment.apply, which folds batch norms into their layers first: permutations need no
    # such thing, and it would change the distances.
    twin = copied(network)
    maps = {group: of_both[1] for group, of_both in alignment.maps.items()}
    twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
    clear_eval_caches(twin)
    return twin


def distance(a: nn.Module, b: nn.Module) -> float:
    """The Euclidean length of the difference of all parameters, summed in float64.

    The networks have equal names and shapes.
    """
    of_b = dict(b.named_parameters())
    total = 0.0
    for name, parameter in a.named_parameters():
        other = of_b[name].detach().to(parameter.device)
        total += _squares(parameter.detach().double() - other.double())
    return math.sqrt(total)


def _structure(network: nn.Module, data: Data) -> tuple[TracedNetwork, SymmetrySpec]:
    traced = trace_on(network, data)
    return traced, solve(traced)


def _squares(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().sum())


def _index_pairs(count: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(count), 2))


def _empty(count: int) -> Tensor:
    return torch.zeros(count, count, dtype=torch.float64, device="cpu")


def _line(pairs: Pairs) -> str:
    means = pairs.means()
    first = next(iter(pairs.paths.values()))
    kind = first.loss_kind
    unit = kind.points or f"({kind.label})"
    unlike = means["disagreement"]
    told = "" if math.isnan(unlike) else f" disagreement {100 * unlike:.2f} %,"
    return (
        f"distance {means['distance']:.4g},{told}"
        f" barrier {kind.scale * means['barrier']:.{kind.digits}f} {unit}, means over"
        f" {len(pairs.paths)}"
        f" pair{'s' * (len(pairs.paths) > 1)}"
    )
