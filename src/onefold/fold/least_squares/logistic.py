"""The output layer of classifiers by logistic regression on their ensemble's probabilities.

    minimise over W, b   -mean_i sum_c q_ic log p_ic + (lambda / 2) sum_d s_d^2 |W_d|^2,
    p_i = softmax(x_i W + b),    s_d = the deviation of input d,

with inputs x of the folded network and q of the ensemble that is aimed at. The problem is convex.
At its minimum the mean of p is the mean of q, since b is not penalised.

Least squares of log q is led by its largest numbers: the log-probabilities of classes that are out
of the question. They are the larger the surer the members are, and largest where a member never saw
a class. The answer does not depend on them. The cross-entropy does not, either.

lambda is the one under which the answers on held-out rows are the most probable by the ensemble,
mean_i q_i,argmax(p_i), and on a tie the one of less cross-entropy. The solution of least squares is
one of the candidates.

Bishop 2006, "Pattern Recognition and Machine Learning", section 4.3.4; targets that are
probabilities: Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv
1503.02531).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.rows import Sample
from onefold.fold.least_squares.weights import effective, tensor_of
from onefold.layers import Layer
from onefold.progress import track
from onefold.symmetry import TracedNetwork

PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # in falling order: each starts from the last
STEPS = 100  # of L-BFGS for each of them
WORK = 2_000_000_000  # multiply-adds of one step; more rows than that are not read


class Rows(NamedTuple):
    """Rows of the output layer.

    Attributes:
        inputs: (n, D) float64.
        aim: (n, classes) float64, the ensemble's probabilities.
        held: (n,) bool, which rows are held out.
    """

    inputs: Tensor
    aim: Tensor
    held: Tensor


class Head(NamedTuple):
    """A matrix (D, classes) and a constant (classes,), float64."""

    matrix: Tensor
    constant: Tensor

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """Of inputs (n, D): (n, classes)."""
        return torch.log_softmax(inputs @ self.matrix + self.constant, -1)


@dataclass(frozen=True)
class Refit:
    """What was chosen for the output layer.

    Attributes:
        weights: the name of its weight.
        rows: how many rows were fitted.
        penalty: lambda; None if the solution of least squares was kept.
        before: how probable the answers of least squares are by the ensemble, on held-out rows.
        after: the same of what was chosen.
    """

    weights: str
    rows: int
    penalty: float | None
    before: float
    after: float

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return dict(self.__dict__)


def fittable(site: Site) -> Layer | None:
    """The layer of a site that can be fitted: one alone, of one group, with a bias and no norm."""
    (layer, *others) = site.layers
    plain = layer.bias is not None and layer.norm is None and layer.groups == 1
    return layer if plain and not others and site.minus is None else None


def refit(
    traced: TracedNetwork,
    state: dict[str, Tensor],
    site: Site,
    calibration: Calibration,
    samples: Sequence[Sample],
    target: Tensor,
) -> Refit | None:
    """Fit the output layer in `state` anew, in place; None if its kind cannot be fitted.

    Args:
        traced: the traced network.
        state: the folded state.
        site: the site of the output layer.
        calibration: the batches.
        samples: the sampled positions of every batch.
        target: log q at these positions (rows, classes).
    """
    layer = fittable(site)
    if layer is None or layer.bias is None:
        return None
    matrix, constant = effective(state, layer)
    solved = Head(matrix[0], constant)
    rows = _thinned(_rows(traced, state, site, calibration, samples, target), solved.matrix.numel())
    fitted, held = _part(rows, ~rows.held), _part(rows, rows.held)
    if not len(held.inputs) or not len(fitted.inputs):
        return None
    before = _agreement(solved, held)
    best, chosen = before, None
    for penalty, head in _path(fitted):
        found = _agreement(head, held)
        if found > best:
            best, chosen = found, penalty
    if chosen is not None:
        for penalty, head in _path(rows):
            if penalty == chosen:
                _write(state, layer, head)
                break
    return Refit(layer.weight, len(rows.inputs), chosen, before[0], best[0])


def fit(rows: Rows, penalty: float, start: Head | None = None) -> Head:
    """The minimum for one lambda.

    Args:
        rows: all are fitted.
        penalty: lambda.
        start: where the search begins; None for zeros.
    """
    mean, deviation = rows.inputs.mean(0), rows.inputs.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)  # of a dead input: it stays at 0
    inputs = (rows.inputs - mean) / deviation
    shape = (inputs.shape[1], rows.aim.shape[1])
    weight, bias = inputs.new_zeros(shape), inputs.new_zeros(shape[1])
    if start is not None:
        weight += start.matrix * deviation[:, None]
        bias += start.constant + mean @ start.matrix
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=1e-5,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        log_p = torch.log_softmax(inputs @ weight + bias, -1)
        value = -(rows.aim * log_p).sum(-1).mean() + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    matrix = weight.detach() / deviation[:, None]
    return Head(matrix, bias.detach() - mean @ matrix)


def _path(rows: Rows) -> Iterator[tuple[float, Head]]:
    """The minima for one lambda after the other, each search from the minimum before it."""
    head = None
    for penalty in track(PENALTIES, "output layer"):
        head = fit(rows, penalty, head)
        yield penalty, head


def _agreement(head: Head, held: Rows) -> tuple[float, float]:
    """How probable the head's answers are by the ensemble, and the negative cross-entropy."""
    log_p = head.log_probabilities(held.inputs)
    answers = log_p.argmax(-1, keepdim=True)
    hits = float(held.aim.gather(-1, answers).mean())
    return hits, float((held.aim * log_p).sum(-1).mean())


def _rows(
    traced: TracedNetwork,
    state: Mapping[str, Tensor],
    site: Site,
    calibration: Calibration,
    samples: Sequence[Sample],
    target: Tensor,
) -> Rows:
    """The inputs of the layer in the folded network, beside what they should give."""
    (layer,), (geometry,) = site.layers, site.geometries
    inputs: list[Tensor] = []
    held = []
    for batch, sample in zip(calibration.batches, samples, strict=True):

        def visit(_: str, values: list[Tensor], sample: Sample = sample) -> None:
            inputs.append(geometry.inputs(values[0], sample, layer.groups)[0].double())

        traced.replay(
            [state], batch.args, batch.kwargs, visit=visit, nodes=[layer.source], until=layer.source
        )
        cut = torch.zeros(len(sample), dtype=torch.bool)
        cut[len(sample) - sample.held :] = True
        held.append(cut)
    joined = torch.cat(inputs)
    return Rows(joined, target.double().softmax(-1).to(joined.device), torch.cat(held))


def _thinned(rows: Rows, numbers: int) -> Rows:
    """Every k-th row, if all would be too much work for a matrix of so many numbers."""
    step = max(1, -(-len(rows.inputs) * numbers // WORK))
    return Rows(*(value[::step] for value in rows)) if step > 1 else rows


def _part(rows: Rows, chosen: Tensor) -> Rows:
    index = chosen.to(rows.inputs.device)
    return Rows(rows.inputs[index], rows.aim[index], rows.held[chosen])


def _write(state: dict[str, Tensor], layer: Layer, head: Head) -> None:
    assert layer.bias is not None
    weight, bias = state[layer.weight], state[layer.bias]
    state[layer.weight] = tensor_of(head.matrix[None], layer, weight.shape).to(weight)
    state[layer.bias] = head.constant.to(bias)


__all__ = ["Head", "Refit", "Rows", "fit", "fittable", "refit"]
